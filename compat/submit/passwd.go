package submit

import (
	"bufio"
	"io"
	"os"
	"strconv"
	"strings"
)

// Passwd is a user of the passwd file.
type Passwd struct {
	Login, Name, Home string
	UID               int
}

// FindUser returns the first user of a passwd file who fits. A file that cannot be read has no users: sendmail works in
// a chroot that has none.
func FindUser(file string, fits func(login string, uid int) bool) (Passwd, bool) {
	f, err := os.Open(file)
	if err != nil {
		return Passwd{}, false
	}
	defer f.Close()
	return findUser(f, fits)
}

func findUser(r io.Reader, fits func(login string, uid int) bool) (Passwd, bool) {
	in := bufio.NewScanner(r)
	for in.Scan() {
		col := strings.Split(in.Text(), ":") // passwd(5): name:password:uid:gid:gecos:home:shell
		if len(col) < 7 || col[0] == "" {
			continue
		}
		uid, err := strconv.Atoi(col[2])
		if err != nil || !fits(col[0], uid) {
			continue
		}
		return Passwd{Login: col[0], Name: GecosName(col[4], col[0]), Home: col[5], UID: uid}, true
	}
	return Passwd{}, false
}

// GecosName is the full name of a gecos field: up to the first of ",;%", with "&" standing for the capitalised login
// name.
func GecosName(gecos, login string) string {
	if i := strings.IndexAny(gecos, ",;%"); i >= 0 {
		gecos = gecos[:i]
	}
	if strings.Contains(gecos, "&") && login != "" {
		gecos = strings.ReplaceAll(gecos, "&", strings.ToUpper(login[:1])+login[1:])
	}
	return strings.TrimSpace(gecos)
}
