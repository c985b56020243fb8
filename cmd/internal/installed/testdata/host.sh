#!/bin/sh
# host.sh WORK PACKAGE DEBS: run by the test in mount, process, network and UTS name spaces of its own, as root.
# Makes a Debian host over a copy-on-write view of this one, installs the Waybill package there with apt, as an
# administrator would, lets real programs send mail, and prints what became of each message.
set -eu
work=$1 package=$2 debs=$3
mount --make-rprivate /
mount -t tmpfs tmpfs "$work"
mkdir "$work/upper" "$work/work" "$work/host"
mount -t overlay overlay -o "lowerdir=/,upperdir=$work/upper,workdir=$work/work" "$work/host"
host=$work/host
mount -t tmpfs tmpfs "$host/run"
mount -t tmpfs tmpfs "$host/tmp"
chmod 1777 "$host/tmp"
mkdir "$host/run/lock" "$host/tmp/debs"
mount -t proc proc "$host/proc"
mount -t devtmpfs devtmpfs "$host/dev" 2>/dev/null || mount --rbind /dev "$host/dev"
cp "$package" "$host/tmp/debs/waybill.deb"
cp "$debs"/*.deb "$host/tmp/debs/"
rm -f "$host"/tmp/debs/exim4*.deb # what apt would take for want of Waybill
cp "$(dirname "$0")/inside.sh" "$host/tmp/inside.sh"
ip link set lo up
hostname mail.example.test
printf '127.0.0.1 localhost\n127.0.0.1 mail.example.test mail\n' >"$host/etc/hosts"
echo mail.example.test >"$host/etc/hostname"
echo mail.example.test >"$host/etc/mailname"
echo 'nameserver 127.0.0.1' >"$host/etc/resolv.conf"
exec chroot "$host" /usr/bin/env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 LOGNAME=root USER=root sh /tmp/inside.sh
