#!/bin/sh
# install.sh install|uninstall
# Puts what "make build" left in BIN where Debian's sendmail has it, below DESTDIR, or takes it away again. Nothing below
# /etc or /var/spool is ever removed or overwritten. With DESTDIR empty, as root, "install" also makes the user, the
# group and the spool (etc/packaging/site.sh), which a package does when it is configured.
set -eu
: "${DESTDIR=}" "${PREFIX=/usr}" "${BIN=bin}"
here=$(cd "$(dirname "$0")" && pwd)
etc=$(dirname "$here")
root=$DESTDIR$PREFIX

# What sendmail answers to under other names, and what waybill does.
front_bin="mailq newaliases"
front_sbin="hoststat purgestat runq"
engine_bin="vacation rmail rsmtp"
engine_sbin="praliases makemap editmap mailstats"
pages() { (cd "$etc/man" && ls -- *.[1-9]); }
units="waybill.service waybill.socket"

# link TARGET NAME: a file of that name that is not ours is somebody's sendmail; it must go first, by whoever put it there.
link() {
	if [ -e "$2" ] && [ ! -L "$2" ]; then
		echo "install.sh: $2 belongs to another mail system; remove that first" >&2
		exit 73
	fi
	ln -sfn "$1" "$2"
}

case ${1-} in
install)
	for program in waybill sendmail mail.local waybill-ldap waybill-bt; do
		if [ ! -x "$BIN/$program" ]; then
			echo "install.sh: $BIN/$program is missing; run \"make build\" first" >&2
			exit 66
		fi
	done
	if [ -z "$DESTDIR" ] && owner=$(dpkg-query -S "$PREFIX/sbin/sendmail" "$PREFIX/lib/sendmail" 2>/dev/null); then
		echo "install.sh: another mail system is installed: ${owner%%:*}. Install Waybill as a package instead, which replaces it: make deb" >&2
		exit 73
	fi
	install -d "$root/bin" "$root/sbin" "$root/lib" "$root/libexec/sendmail" "$root/share/waybill/lib" \
		"$root/share/man/man1" "$root/share/man/man5" "$root/share/man/man8" "$root/share/doc/waybill/examples" \
		"$root/share/bash-completion/completions" "$root/share/zsh/vendor-completions" "$root/share/fish/vendor_completions.d" \
		"$root/lib/systemd/system" "$root/lib/sysusers.d" "$root/lib/tmpfiles.d"
	for name in $front_bin; do link ../sbin/sendmail "$root/bin/$name"; done
	for name in $front_sbin; do link sendmail "$root/sbin/$name"; done
	for name in $engine_bin; do link ../sbin/waybill "$root/bin/$name"; done
	for name in $engine_sbin; do link waybill "$root/sbin/$name"; done
	link ../sbin/sendmail "$root/lib/sendmail"
	link ../bin/rmail "$root/sbin/rmail"
	# Where the sendmail.cf of a Debian host looks for them.
	link ../../sbin/sendmail "$root/libexec/sendmail/sendmail"
	link ../../sbin/waybill "$root/libexec/sendmail/smrsh"
	# install(1) writes a new file and renames nothing: take the old program away first, it may be running.
	rm -f "$root/sbin/waybill" "$root/sbin/waybill-ldap" "$root/sbin/waybill-bt" "$root/sbin/sendmail" "$root/libexec/sendmail/mail.local"
	install -m 755 "$BIN/waybill" "$root/sbin/waybill"
	install -m 755 "$BIN/waybill-ldap" "$root/sbin/waybill-ldap"
	install -m 755 "$BIN/waybill-bt" "$root/sbin/waybill-bt"
	install -m 755 "$BIN/sendmail" "$root/sbin/sendmail" # site.sh makes it set-group-ID once the group exists
	install -m 755 "$BIN/mail.local" "$root/libexec/sendmail/mail.local"
	for page in $(pages); do
		install -m 644 "$etc/man/$page" "$root/share/man/man${page##*.}/$page"
	done
	install -m 644 "$etc/waybill.rules" "$root/share/waybill/waybill.rules"
	install -m 644 "$etc"/lib/*.rules "$root/share/waybill/lib/"
	install -m 755 "$here/site.sh" "$root/share/waybill/site.sh"
	install -m 644 "$etc"/doc/*.md "$here/../../README.md" "$here/../../LICENSE" "$root/share/doc/waybill/"
	install -m 644 "$etc/systemd/no-programs.conf" "$root/share/doc/waybill/examples/"
	for unit in $units; do
		sed "s|@PREFIX@|$PREFIX|g" "$etc/systemd/$unit" >"$root/lib/systemd/system/$unit"
		chmod 644 "$root/lib/systemd/system/$unit"
	done
	install -m 644 "$etc/systemd/sysusers.conf" "$root/lib/sysusers.d/waybill.conf"
	install -m 644 "$etc/systemd/tmpfiles.conf" "$root/lib/tmpfiles.d/waybill.conf"
	"$BIN/waybill" completion bash >"$root/share/bash-completion/completions/waybill"
	"$BIN/waybill" completion zsh >"$root/share/zsh/vendor-completions/_waybill"
	"$BIN/waybill" completion fish >"$root/share/fish/vendor_completions.d/waybill.fish"
	if [ -z "$DESTDIR" ] && [ "$(id -u)" = 0 ]; then
		"$here/site.sh" "$PREFIX"
	fi
	;;
uninstall)
	for name in $front_bin $engine_bin; do rm -f "$root/bin/$name"; done
	for name in $front_sbin $engine_sbin rmail waybill waybill-ldap waybill-bt sendmail; do rm -f "$root/sbin/$name"; done
	rm -f "$root/lib/sendmail"
	for name in sendmail smrsh mail.local; do rm -f "$root/libexec/sendmail/$name"; done
	for page in $(pages); do rm -f "$root/share/man/man${page##*.}/$page"; done
	for unit in $units; do rm -f "$root/lib/systemd/system/$unit"; done
	rm -f "$root/lib/sysusers.d/waybill.conf" "$root/lib/tmpfiles.d/waybill.conf" "$root/share/bash-completion/completions/waybill" \
		"$root/share/zsh/vendor-completions/_waybill" "$root/share/fish/vendor_completions.d/waybill.fish"
	rm -rf "$root/share/waybill" "$root/share/doc/waybill"
	# Directories that were made for us go when nobody else uses them.
	for dir in libexec/sendmail libexec share/man/man1 share/man/man5 share/man/man8 share/man share/doc \
		share/bash-completion/completions share/bash-completion share/zsh/vendor-completions share/zsh \
		share/fish/vendor_completions.d share/fish lib/systemd/system lib/systemd lib/sysusers.d lib/tmpfiles.d bin sbin lib share; do
		rmdir "$root/$dir" 2>/dev/null || true
	done
	;;
*)
	echo "usage: DESTDIR=DIR PREFIX=DIR BIN=DIR install.sh install|uninstall" >&2
	exit 64
	;;
esac
