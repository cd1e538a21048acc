package main

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"

	"cordwood/broker"
)

// ownConfig is the name of the source of a config that was set for the topic itself.
const ownConfig = "DYNAMIC_TOPIC_CONFIG"

func topicConfig(t *terminal, f *clientFlags) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "config TOPIC [get KEY | set KEY=VALUE... | unset KEY...]",
		Short: "Show and change the configs of a topic",
		Example: `  cordwood topic config orders                               all configs, and where they come from
  cordwood topic config orders get retention.ms              one value
  cordwood topic config orders set retention.ms=3600000
  cordwood topic config orders unset retention.ms            back to the broker's default`,
		Args: func(_ *cobra.Command, args []string) error {
			switch {
			case len(args) == 0:
				return usageErrorf("which topic?")
			case len(args) == 1, len(args) == 3 && args[1] == "get", len(args) > 2 && (args[1] == "set" || args[1] == "unset"):
				return nil
			}
			return usageErrorf("%q: use get KEY, set KEY=VALUE... or unset KEY...", args[1:])
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) < 3 || args[1] == "get" {
				return showConfig(cmd, t, f, args)
			}
			changes, err := configChanges(args[1], args[2:])
			if err != nil {
				return err
			}
			return f.admin(cmd, func(ctx context.Context, adm *kadm.Client) error {
				done, err := adm.AlterTopicConfigs(ctx, changes, args[0])
				if err != nil {
					return err
				}
				for _, r := range done {
					if r.Err != nil {
						return refusedConfig("topic "+args[0], r.Err, r.ErrMessage, keysOf(changes))
					}
				}
				out := &table{}
				for _, c := range changes {
					if c.Value != nil {
						out.add("set", args[0], c.Name+"="+*c.Value)
					} else {
						out.add("unset", args[0], c.Name)
					}
				}
				return f.print(t.out, map[string]any{"name": args[0], args[1]: args[2:]}, out)
			})
		},
	}
	return cmd
}

func configChanges(verb string, args []string) (changes []kadm.AlterConfig, err error) {
	if verb == "unset" {
		for _, key := range args {
			changes = append(changes, kadm.AlterConfig{Op: kadm.DeleteConfig, Name: key})
		}
		return changes, nil
	}
	settings, err := parseSettings(args)
	if err != nil {
		return nil, err
	}
	for _, key := range sortedKeys(settings) {
		changes = append(changes, kadm.AlterConfig{Op: kadm.SetConfig, Name: key, Value: settings[key]})
	}
	return changes, nil
}

func keysOf(changes []kadm.AlterConfig) (keys []string) {
	for _, c := range changes {
		keys = append(keys, c.Name)
	}
	return keys
}

// configInfo is one config of a topic and where its value comes from.
type configInfo struct {
	Key    string `json:"key"`
	Value  string `json:"value"`
	Source string `json:"source"`
}

func showConfig(cmd *cobra.Command, t *terminal, f *clientFlags, args []string) error {
	return f.admin(cmd, func(ctx context.Context, adm *kadm.Client) error {
		all, err := adm.DescribeTopicConfigs(ctx, args[0])
		if err != nil {
			return err
		}
		rc, err := all.On(args[0], nil)
		if err == nil {
			err = rc.Err
		}
		if err != nil {
			return refused("topic "+args[0], err, rc.ErrMessage)
		}
		list, out := []configInfo{}, &table{head: []string{"CONFIG", "VALUE", "SOURCE"}}
		for _, c := range rc.Configs {
			i := configInfo{Key: c.Key, Value: c.MaybeValue(), Source: c.Source.String()}
			if len(args) == 3 && c.Key == args[2] {
				if f.format == "json" {
					return printJSON(t.out, i)
				}
				_, err := fmt.Fprintln(t.out, i.Value)
				return err
			}
			list = append(list, i)
			out.add(i.Key, i.Value, i.Source)
		}
		if len(args) == 3 {
			if near := broker.SuggestTopicKey(args[2]); near != "" {
				return fmt.Errorf("%s: no topic has this config; did you mean %s?", args[2], near)
			}
			return fmt.Errorf("%s: no topic has this config; see `cordwood topic config %s`", args[2], args[0])
		}
		return f.print(t.out, list, out)
	})
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
