package main

import (
	"fmt"
	"runtime"

	"github.com/spf13/cobra"

	"cordwood/broker"
)

// versionJSON is what `version --format json` prints.
type versionJSON struct {
	Version  string `json:"version"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

func versionCommand(t *terminal) *cobra.Command {
	format := "table"
	cmd := &cobra.Command{
		Use: "version", Short: "Say which version this is", Args: noArguments,
		RunE: func(*cobra.Command, []string) error {
			v := versionJSON{broker.Version, runtime.Version(), runtime.GOOS + "/" + runtime.GOARCH}
			switch format {
			case "json":
				return printJSON(t.out, v)
			case "table":
				_, err := fmt.Fprintf(t.out, "cordwood %s %s %s\n", v.Version, v.Go, v.Platform)
				return err
			}
			return usageErrorf("--format %q: use table or json", format)
		},
	}
	cmd.Flags().StringVar(&format, "format", format, "output: table or json")
	return cmd
}
