package app

import (
	"strings"

	"waybill/compat/cf"
	"waybill/transport/pipe"
)

// mailerArgs are the arguments of a mailer's program. What is known of a message only when it is delivered stays as it is;
// other macros have the value that the configuration gives them, and none when it gives none.
func (c *cfSite) mailerArgs(m *cf.Mailer) []string {
	var args []string
	for arg := range strings.FieldsSeq(m.Args) {
		if strings.Contains(arg, "$") {
			arg = cf.Expand(arg, func(name string) (string, bool) {
				if pipe.Macro(name) {
					return "${" + name + "}", true
				}
				v, ok := c.conf.Prog.Macros[name]
				return v, ok
			})
		}
		args = append(args, arg)
	}
	return args
}
