package main

import (
	"fmt"
	"runtime"

	"github.com/spf13/cobra"

	"cordwood/broker"
)

func versionCommand(t *terminal) *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Say which version this is", Args: noArguments,
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintf(t.out, "cordwood %s %s %s/%s\n", broker.Version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
			return err
		},
	}
}
