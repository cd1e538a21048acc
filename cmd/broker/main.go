package main

import "os"

func main() {
	os.Exit(run(&terminal{in: os.Stdin, out: os.Stdout, err: os.Stderr}, os.Args[1:]))
}
