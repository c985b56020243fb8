package cf

// mapTable names every class of maps that Debian's sendmail 8.17 knows. Behind a colon stands, for those that Waybill
// does not ask exactly as sendmail does, how and why: "~" approximated, "-" ignored. A test opens a map of each class and
// holds the table to what happens.
const mapTable = `
hash  btree  implicit  text  host  dns  null  macro  arith  dequote  sequence  switch  stab  regex  user  bestmx  socket  arpa
syslog:~what a rule logs this way goes to the log of Waybill, at its own level
program:~runs as the user of the daemon, not as DefaultUser
userdb:-the user database is not read; lookups find nothing
ldap:-ask the directory through waybill-ldapmap and a socket map; lookups say "not now"
nis:-NIS is not asked; lookups say "not now"
nisplus:-NIS+ is not asked; lookups say "not now"`

func isMapClass(name string) bool {
	for _, i := range entries(mapTable) {
		if i.name == name {
			return true
		}
	}
	return false
}

// Info tells how well something is honoured, and why not exactly.
type Info struct {
	How Exactness
	Why string
}

// MapInfo tells how a class of maps is honoured.
func MapInfo(class string) Info {
	for _, i := range entries(mapTable) {
		if i.name == class {
			return Info{i.how, i.why}
		}
	}
	return Info{Ignored, "no such class"}
}
