package app

import (
	"io"
	"os"

	"waybill/compat/makemap"
	"waybill/rules/table"
)

// makeMap is makemap(8).
func makeMap(std stdio, args []string) int { return makemap.Makemap(args, mapEnv(std)) }

// editMap is editmap(8).
func editMap(std stdio, args []string) int { return makemap.Editmap(args, mapEnv(std)) }

func mapEnv(std stdio) makemap.Env {
	format := func(suffix string, read func([]byte) ([]table.Entry, error), write func(io.Writer, []table.Entry, bool) error) makemap.Format {
		return makemap.Format{
			Suffix: suffix,
			Read: func(data []byte) ([]makemap.Entry, error) {
				all, err := read(data)
				out := make([]makemap.Entry, len(all))
				for i, e := range all {
					out[i] = makemap.Entry(e)
				}
				return out, err
			},
			Write: func(w io.Writer, all []makemap.Entry, dup bool) error {
				in := make([]table.Entry, len(all))
				for i, e := range all {
					in[i] = table.Entry(e)
				}
				return write(w, in, dup)
			},
		}
	}
	hash := format(".db", table.ReadDB, table.WriteHash)
	return makemap.Env{
		In: std.in, Out: std.out, Err: std.err,
		Formats: map[string]makemap.Format{
			"hash": hash, "implicit": hash, "btree": format(".db", table.ReadDB, table.WriteBtree),
			"cdb": format(".cdb", table.ReadCDB, func(w io.Writer, all []table.Entry, _ bool) error { return table.WriteCDB(w, all) }),
		},
		Trusted: func(config string) (string, error) {
			if config == "" {
				return "", nil
			}
			f, err := os.Open(config)
			if err != nil {
				return "", err
			}
			return "", f.Close()
		},
	}
}
