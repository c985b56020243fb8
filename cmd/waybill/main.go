// Command waybill is the engine and the admin's tool: the daemon, the rules, the queue, and the programs that
// accompany sendmail under their own names.
package main

import (
	"os"

	"waybill/cmd/internal/app"
)

func main() {
	app.SetID(os.Args)
	os.Exit(app.Main(os.Args, os.Stdin, os.Stdout, os.Stderr))
}
