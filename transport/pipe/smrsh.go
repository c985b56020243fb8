package pipe

import (
	"fmt"
	"io"
	"os"
	"os/exec"

	"waybill/transport/sysexits"
)

// Smrsh is the restricted shell smrsh(8): it runs the command behind -c if its programs are in the directory programs,
// as the user who calls, and returns the exit status. The language is that of Line, no shell is started.
func Smrsh(args []string, programs string, in io.Reader, out, errs io.Writer) int {
	if len(args) != 2 || args[0] != "-c" || blank(args[1]) {
		fmt.Fprintln(errs, "Usage: smrsh -c command")
		return sysexits.Usage
	}
	line, err := SplitCommand(args[1])
	if err != nil {
		fmt.Fprintln(errs, "smrsh:", err)
		return sysexits.Unavailable
	}
	base := []string{"PATH=/usr/bin:/bin"}
	for _, name := range []string{"AGENT", "HOME", "LOGNAME", "USER", "TZ"} {
		if v, ok := os.LookupEnv(name); ok {
			base = append(base, name+"="+v)
		}
	}
	res := line.walk(programs, out, func(string, error) {}, func(program string, argv, env []string) result {
		cmd := exec.Command(program)
		cmd.Args, cmd.Env = argv, append(append([]string(nil), base...), env...)
		cmd.Stdin, cmd.Stdout, cmd.Stderr = in, out, errs
		err := cmd.Run()
		if cmd.ProcessState == nil {
			fmt.Fprintln(errs, "smrsh:", err)
			return result{exit: sysexits.OSErr}
		}
		if code := cmd.ProcessState.ExitCode(); code >= 0 {
			return result{exit: code}
		}
		return result{exit: sysexits.TempFail} // ended by a signal: nobody knows what it did
	})
	return res.exit
}

func blank(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] != ' ' && s[i] != '\t' {
			return false
		}
	}
	return true
}
