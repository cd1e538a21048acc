package main

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"cordwood/broker"
)

// serverFlags are what serve and dev can be told beside the property file.
type serverFlags struct {
	file      string
	overrides []string
	dataDir   string
	portFile  string
	logFormat string
	logLevel  string
}

func (f *serverFlags) register(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringArrayVar(&f.overrides, "override", nil, "set a configuration key, as `key=value`; counts more than the file; repeatable")
	flags.StringVar(&f.dataDir, "data-dir", f.dataDir, "data `directory`; short for --override log.dirs=")
	flags.StringVar(&f.portFile, "port-file", "", "write the bound addresses as JSON to this `file` once the broker serves")
	flags.StringVar(&f.logFormat, "log-format", "console", "console or json")
	flags.StringVar(&f.logLevel, "log-level", f.logLevel, "debug, info, warn or error")
}

func serveCommand(t *terminal) *cobra.Command {
	f := serverFlags{logLevel: "info"}
	cmd := &cobra.Command{
		Use:   "serve [-c FILE] [--override KEY=VALUE]...",
		Short: "Run a broker",
		Long: `Run a broker with Kafka's property names; without a file every key has its default.
An empty data directory is set up at the first start.

Exit codes: 0 stopped cleanly, 1 failed, 74 disk, 75 the data directory is in use by another process,
78 configuration, port in use, or a data directory of another node or cluster.`,
		Example: `  cordwood serve -c server.properties
  cordwood serve --data-dir /var/lib/cordwood --override listeners=PLAINTEXT://:9092`,
		Args: noArguments,
		RunE: func(*cobra.Command, []string) error {
			settings, err := f.settings()
			if err != nil {
				return withCode(exitConfig, err)
			}
			cfg, err := broker.FromProperties(settings)
			if err != nil {
				return withCode(exitConfig, err)
			}
			return f.serve(t, cfg, nil)
		},
	}
	cmd.Flags().StringVarP(&f.file, "config", "c", "", "property `file`")
	f.register(cmd)
	return cmd
}

// settings are the keys of the file, then those of the command line.
func (f *serverFlags) settings() (map[string]broker.Setting, error) {
	settings := map[string]broker.Setting{}
	if f.file != "" {
		var err error
		if settings, err = loadProperties(f.file); err != nil {
			return nil, err
		}
	}
	if f.dataDir != "" {
		settings["log.dirs"] = broker.Setting{Value: f.dataDir, File: "--data-dir"}
	}
	for _, o := range f.overrides {
		key, value, ok := strings.Cut(o, "=")
		if key = strings.TrimSpace(key); !ok || key == "" {
			return nil, usageErrorf("--override %q: write it as key=value", o)
		}
		settings[key] = broker.Setting{Value: strings.TrimSpace(value), File: "--override"}
	}
	return settings, nil
}

// serve runs a broker until a signal ends it. ready is told once, when it serves.
func (f *serverFlags) serve(t *terminal, cfg broker.Config, ready func(broker.Addrs)) error {
	log, err := newLogger(t.err, f.logFormat, f.logLevel)
	if err != nil {
		return err
	}
	setLimits(log)
	cfg.Log = log
	if f.portFile != "" {
		// A file of an earlier process would send others to the wrong port.
		if err := os.Remove(f.portFile); err != nil && !errors.Is(err, os.ErrNotExist) {
			return withCode(exitConfig, err)
		}
		defer os.Remove(f.portFile)
	}
	failed := make(chan error, 1)
	cfg.Ready = func(a broker.Addrs) {
		if f.portFile != "" {
			if err := writePortFile(f.portFile, a); err != nil {
				failed <- err
			}
		}
		if ready != nil {
			ready(a)
		}
	}
	var opened atomic.Pointer[broker.Broker]
	ctx, release := untilSignal(log, failed, func() []zap.Field { return stateOf(opened.Load()) },
		func() { log.Info("SIGHUP: nothing to reload") })
	defer release()
	b, err := broker.Open(cfg)
	if err != nil {
		return serverError(err)
	}
	opened.Store(b)
	keeper, dismiss := context.WithCancel(ctx)
	var kept sync.WaitGroup
	kept.Go(func() { giveBack(keeper) })
	err = b.Run(ctx)
	dismiss()
	kept.Wait()
	if err != nil {
		return serverError(err)
	}
	select {
	case err := <-failed:
		return withCode(exitConfig, err)
	default:
	}
	log.Info("stopped cleanly")
	return nil
}

// stateOf is what SIGUSR1 logs; b is nil while the logs are opened.
func stateOf(b *broker.Broker) []zap.Field {
	if b == nil {
		return []zap.Field{zap.String("ready", "opening the data directories")}
	}
	return b.State()
}

// writePortFile makes the file appear whole, for somebody is waiting for it.
func writePortFile(path string, a any) error {
	text, err := json.Marshal(a)
	if err != nil {
		return err
	}
	temp, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	_, err = temp.Write(append(text, '\n'))
	if err = errors.Join(err, temp.Close()); err == nil {
		err = os.Rename(temp.Name(), path)
	}
	if err != nil {
		os.Remove(temp.Name())
	}
	return err
}
