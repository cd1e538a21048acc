package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"cordwood/gateway"
)

// gatewayFlags are what a gateway can be told beside its file.
type gatewayFlags struct {
	file, portFile, logFormat, logLevel string
}

func gatewayCommand(t *terminal) *cobra.Command {
	f := new(gatewayFlags)
	cmd := &cobra.Command{
		Use:   "gateway -c FILE",
		Short: "Run a router through which clients reach every broker of a cluster",
		Long: `Run a router through which clients reach every broker of a cluster by its own addresses: one TLS
port with a host name per broker, or a port per broker. It keeps nothing on disk; any number may run.

The file is a property file:
  listeners=SSL://0.0.0.0:9093             the first address of clients; or PLAINTEXT://…
  advertised.listeners=SSL://kafka.example:9093   how clients reach it
  gateway.upstream=10.0.0.1:9092,10.0.0.2:9092    some brokers; they name the others
  gateway.host.pattern=b{node}.kafka.example      a host per broker (SSL), or else
  gateway.port.base=19000                         a port per broker: broker 3 at 19003
  ssl.keystore.location=gateway.pem               private key and certificates, PEM

SIGHUP reads the file again; a mistake in it changes nothing. SIGTERM lets nobody new in and ends when
requests under way are answered. docs/gateway.md has all keys, what is guaranteed and what it costs.

Exit codes: 0 stopped cleanly, 1 failed, 78 configuration or port in use.`,
		Example: `  cordwood gateway -c gateway.properties`,
		Args:    noArguments,
		RunE: func(*cobra.Command, []string) error {
			if f.file == "" {
				return usageErrorf("a gateway wants a property file: -c FILE")
			}
			return f.run(t)
		},
	}
	flags := cmd.Flags()
	flags.StringVarP(&f.file, "config", "c", "", "property `file`")
	flags.StringVar(&f.portFile, "port-file", "", "write the bound addresses as JSON to this `file` once brokers were looked for")
	flags.StringVar(&f.logFormat, "log-format", "console", "console or json")
	flags.StringVar(&f.logLevel, "log-level", "info", "debug, info, warn or error")
	return cmd
}

// config reads the file.
func (f *gatewayFlags) config() (gateway.Config, error) {
	read, err := loadProperties(f.file)
	if err != nil {
		return gateway.Config{}, err
	}
	settings := make(map[string]gateway.Setting, len(read))
	for name, s := range read {
		settings[name] = gateway.Setting(s)
	}
	return gateway.FromProperties(settings)
}

// run serves until a signal ends it.
func (f *gatewayFlags) run(t *terminal) error {
	cfg, err := f.config()
	if err != nil {
		return withCode(exitConfig, err)
	}
	log, err := newLogger(t.err, f.logFormat, f.logLevel)
	if err != nil {
		return err
	}
	setLimits(log)
	cfg.Log = log
	failed := make(chan error, 1)
	if f.portFile != "" {
		// A file of an earlier process would send others to the wrong port.
		if err := os.Remove(f.portFile); err != nil && !errors.Is(err, os.ErrNotExist) {
			return withCode(exitConfig, err)
		}
		defer os.Remove(f.portFile)
		cfg.Ready = func(a gateway.Addrs) {
			if err := writePortFile(f.portFile, a); err != nil {
				failed <- err
			}
		}
	}
	g, err := gateway.Open(cfg)
	if err != nil {
		return gatewayError(err)
	}
	ctx, release := untilSignal(log, failed, g.State, func() {
		if err := f.reload(g); err != nil {
			log.Error("configuration not read again: the present one goes on", zap.Error(err))
		}
	})
	defer release()
	keeper, dismiss := context.WithCancel(ctx)
	var kept sync.WaitGroup
	kept.Go(func() { giveBack(keeper) })
	err = g.Run(ctx)
	dismiss()
	kept.Wait()
	if err != nil {
		return gatewayError(err)
	}
	select {
	case err := <-failed:
		return withCode(exitConfig, err)
	default:
	}
	log.Info("stopped cleanly")
	return nil
}

func (f *gatewayFlags) reload(g *gateway.Gateway) error {
	cfg, err := f.config()
	if err != nil {
		return err
	}
	return g.Reload(cfg)
}

// gatewayError gives a failure of the gateway its exit code and, where the cause is a common one, the next step.
func gatewayError(err error) error {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return withCode(exitConfig, fmt.Errorf("%w; stop what uses the port, or choose another one", err))
	case errors.Is(err, syscall.EACCES):
		return withCode(exitConfig, fmt.Errorf("%w; ports below 1024 need a privilege, others do not", err))
	case errors.Is(err, gateway.ErrConfig):
		return withCode(exitConfig, err)
	}
	return err
}
