package testsite

import "os/exec"

const namespace = `set -e
dir=$1 tree=$2 host=$3
shift 3
hostname "$host"
mkdir -p "$dir/ov" "$dir/etc"
mount -t tmpfs none "$dir/ov"
for d in etc usr var; do
	low=/$d
	[ ! -d "$tree/$d" ] || low=$tree/$d:$low
	[ $d != etc ] || low=$dir/etc:$low
	mkdir "$dir/ov/$d" "$dir/ov/$d.work"
	mount -t overlay overlay -o "lowerdir=$low,upperdir=$dir/ov/$d,workdir=$dir/ov/$d.work" "/$d"
done
exec "$@"`

// AsInstalled runs a command as if an unpacked package were installed, on a host of the given name: in mount and process
// namespaces of its own, where the package's tree and the etc of dir lie over /etc, /usr and /var. All its processes end
// with it. Only root can.
func AsInstalled(dir, tree, host string, command ...string) *exec.Cmd {
	return exec.Command("unshare", append([]string{"--mount", "--uts", "--pid", "--fork", "--mount-proc", "--kill-child", "--propagation", "private",
		"sh", "-c", namespace, "sh", dir, tree, host}, command...)...)
}
