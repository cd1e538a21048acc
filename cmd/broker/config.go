package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"

	"cordwood/broker"
)

func configCommand(t *terminal) *cobra.Command {
	cmd := family("config", "Check a property file, explain configuration keys")
	cmd.AddCommand(configCheck(t), configExplain(t))
	return cmd
}

func configCheck(t *terminal) *cobra.Command {
	return &cobra.Command{
		Use: "check FILE", Short: "Say what is wrong with a property file, and which of its keys have no effect", Args: arguments(1, 1, "a property file"),
		RunE: func(_ *cobra.Command, args []string) error {
			settings, err := loadProperties(args[0])
			if err != nil {
				return err
			}
			cfg, err := broker.FromProperties(settings)
			if err == nil {
				err = cfg.Validate()
			}
			for _, name := range sortedKeys(settings) {
				if k := broker.LookupKey(name); k != nil && k.Status == broker.Ignored {
					fmt.Fprintf(t.out, "%s:%d: %s: %s\n", args[0], settings[name].Line, name, k.Doc)
				}
			}
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(t.out, "%s: %d keys, all right\n", args[0], len(settings))
			return err
		},
	}
}

// explained is what is known about one key.
type explained struct {
	Key     string        `json:"key"`
	Type    string        `json:"type"`
	Default string        `json:"default"`
	Status  string        `json:"status"`
	Doc     string        `json:"doc"`
	Chain   []explainStep `json:"chain,omitempty"`
}

// explainStep is one place a value can come from; the first one counts.
type explainStep struct {
	Source string `json:"source"`
	Value  string `json:"value"`
	Where  string `json:"where,omitempty"`
}

func configExplain(t *terminal) *cobra.Command {
	f, server := new(clientFlags), serverFlags{}
	cmd := &cobra.Command{
		Use:   "explain [KEY] [-c FILE] [--override KEY=VALUE]... [-b BROKER]",
		Short: "Say what a key means, its default, and where its value comes from; without a key, list all",
		Example: `  cordwood config explain log.retention.ms
  cordwood config explain log.retention.ms -c server.properties -b 127.0.0.1:9092`,
		Args: arguments(0, 1, "one key, or none for all"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return listKeys(t, f)
			}
			e, err := explain(args[0])
			if err != nil {
				return err
			}
			settings, err := server.settings()
			if err != nil {
				return err
			}
			if cmd.Flags().Changed("brokers") {
				if e.Chain, err = askBroker(cmd, f, args[0]); err != nil {
					return err
				}
			}
			e.addStatic(settings)
			out := &table{}
			out.add("key", e.Key)
			out.add("type", e.Type)
			out.add("default", e.Default)
			out.add("status", e.Status)
			out.add("meaning", e.Doc)
			chain := &table{head: []string{"SOURCE", "VALUE", "WHERE"}}
			for _, s := range e.Chain {
				chain.add(s.Source, s.Value, s.Where)
			}
			return f.print(t.out, e, out, chain)
		},
	}
	f.register(cmd)
	cmd.Flags().StringVarP(&server.file, "config", "c", "", "property `file`")
	cmd.Flags().StringArrayVar(&server.overrides, "override", nil, "`key=value` as serve is given it; repeatable")
	return cmd
}

func explain(name string) (explained, error) {
	k, status := broker.LookupKey(name), ""
	switch {
	case k != nil:
		status = k.Status.String()
	case broker.LookupTopicKey(name) != nil:
		k = broker.LookupTopicKey(name)
		status = "config of a topic"
		if len(k.Brokers) > 0 {
			status += "; its default is the broker's " + strings.Join(k.Brokers, ", else ")
		}
	default:
		near := broker.Suggest(name)
		if topic := broker.SuggestTopicKey(name); near == "" {
			near = topic
		}
		if near != "" {
			return explained{}, fmt.Errorf("%s: unknown key; did you mean %s?", name, near)
		}
		return explained{}, fmt.Errorf("%s: unknown key; `cordwood config explain` lists all", name)
	}
	return explained{Key: name, Type: strings.ToLower(k.Type.String()), Default: k.Default, Status: status, Doc: k.Doc}, nil
}

// addStatic adds what the file and the command line say, and the default, behind what a running broker answered.
func (e *explained) addStatic(settings map[string]broker.Setting) {
	if s, ok := settings[e.Key]; ok {
		where := s.File
		if s.Line > 0 {
			where = fmt.Sprintf("%s:%d", s.File, s.Line)
		}
		e.Chain = append(e.Chain, explainStep{"static", s.Value, where})
	}
	e.Chain = append(e.Chain, explainStep{Source: "default", Value: e.Default})
}

// askBroker asks a running broker for a key and everything that stands behind its value.
func askBroker(cmd *cobra.Command, f *clientFlags, key string) (chain []explainStep, err error) {
	err = f.admin(cmd, func(ctx context.Context, adm *kadm.Client) error {
		brokers, err := adm.ListBrokers(ctx)
		if err != nil {
			return err
		}
		for _, node := range brokers.NodeIDs() {
			all, err := adm.DescribeBrokerConfigs(ctx, node)
			if err != nil {
				return err
			}
			for _, rc := range all {
				if rc.Err != nil {
					return refused(fmt.Sprintf("broker %d", node), rc.Err, rc.ErrMessage)
				}
				for _, c := range rc.Configs {
					if c.Key != key {
						continue
					}
					where := fmt.Sprintf("broker %d", node)
					chain = append(chain, explainStep{"in effect: " + c.Source.String(), c.MaybeValue(), where})
					for _, s := range c.Synonyms {
						value := ""
						if s.Value != nil {
							value = *s.Value
						}
						chain = append(chain, explainStep{s.Source.String(), value, where + ", " + s.Key})
					}
				}
			}
		}
		if len(chain) == 0 {
			return errors.New("the broker does not know the key " + key)
		}
		return nil
	})
	return chain, err
}

func listKeys(t *terminal, f *clientFlags) error {
	list, out := []explained{}, &table{head: []string{"KEY", "STATUS", "DEFAULT", "MEANING"}}
	for _, k := range broker.Keys() {
		e, err := explain(k.Name)
		if err != nil {
			return err
		}
		list = append(list, e)
		out.add(e.Key, e.Status, e.Default, e.Doc)
	}
	return f.print(t.out, list, out)
}
