#!/usr/bin/env bash
# Runs a test project on a real KVM where the host has none: QEMU's TCG emulates an AMD processor with SVM and nested paging, a Debian
# kernel in it loads kvm-amd, and the tests run as a self-contained program from its initramfs.
#   tests/nested-kvm/run.sh [PROJECT_DIR [test arguments...]]
# Needs: qemu-system-x86, cpio, gzip, apt (for apt-get download), the .NET SDK. Packages are kept in ~/.cache/vmm/nested-kvm.
# Prints what the test runner prints; its last line is "N passed, N failed, N skipped".
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
project=${1:-tests/Vmm.Backends.Kvm.Tests}
[ $# -eq 0 ] || shift
cache=${XDG_CACHE_HOME:-$HOME/.cache}/vmm/nested-kvm
for tool in qemu-system-x86_64 cpio gzip apt-get dpkg-deb dotnet; do
    command -v "$tool" >/dev/null || { echo "error: $tool is missing; apt-get install qemu-system-x86 cpio gzip" >&2; echo "0 passed, 1 failed, 0 skipped"; exit 1; }
done
mkdir -p "$cache"
if [ ! -e "$cache/unpacked/done-2" ]; then
    rm -rf "$cache/unpacked" && mkdir "$cache/unpacked"
    kernel=$(apt-cache depends linux-image-cloud-amd64 | awk '/Depends:/ { print $2; exit }')
    (cd "$cache" && apt-get -q download "$kernel" busybox-static libc6 libstdc++6 libgcc-s1 zlib1g libssl3 2>/dev/null >&2 && for deb in ./*.deb; do dpkg-deb -x "$deb" unpacked; done)
    touch "$cache/unpacked/done-2"
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
dotnet publish "$root/$project" -c Release -r linux-x64 --self-contained -v quiet -p:UseSharedCompilation=true -p:PublishTrimmed=false -o "$work/image/tests" >&2
image=$work/image
mkdir -p "$image"/{bin,lib,lib64,proc,sys,dev,tmp,root,usr/lib}
cp "$cache/unpacked/bin/busybox" "$image/bin/"
for library in libc.so.6 libm.so.6 libdl.so.2 librt.so.1 libpthread.so.0 libgcc_s.so.1 libstdc++.so.6 libz.so.1 libssl.so.3 libcrypto.so.3; do
    cp -L "$(find "$cache/unpacked" -name "$library" | head -n 1)" "$image/lib/"
done
cp -L "$(find "$cache/unpacked" -name 'ld-linux-x86-64.so.2' | head -n 1)" "$image/lib64/"
modules=$(find "$cache/unpacked" -name kvm-amd.ko -printf '%h\n' | head -n 1)
cp "$modules/kvm.ko" "$modules/kvm-amd.ko" "$(find "$cache/unpacked" -name irqbypass.ko | head -n 1)" "$image/"
mkdir -p "$image/usr/lib/u-boot" "$image/usr/share"
[ ! -d /usr/lib/u-boot/qemu-x86 ] || cp -rL /usr/lib/u-boot/qemu-x86 "$image/usr/lib/u-boot/"
[ ! -d /usr/share/seabios ] || cp -rL /usr/share/seabios "$image/usr/share/"
mkdir -p "$image/etc"; echo "root:x:0:0:root:/root:/bin/sh" > "$image/etc/passwd"
name=$(basename "$project")
cat > "$image/init" <<INIT
#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev; mount -t tmpfs tmp /tmp
insmod /irqbypass.ko; insmod /kvm.ko; insmod /kvm-amd.ko
ulimit -n 65536
export HOME=/root PATH=/bin LD_LIBRARY_PATH=/lib DOTNET_SYSTEM_GLOBALIZATION_INVARIANT=1 DOTNET_TieredPGO=0 VMM_REQUIRE=kvm TESTINGPLATFORM_TELEMETRY_OPTOUT=1 TMPDIR=/tmp ${VMM_NESTED_ENV:-}
cd /tests && ./$name $(printf '%q ' "$@")
echo "nested exit \$?"
poweroff -f
INIT
chmod +x "$image/init"
(cd "$image" && find . | cpio -o -H newc -R 0:0 --quiet) | gzip -1 > "$work/image.gz"
kernel=$(find "$cache/unpacked/boot" -name 'vmlinuz-*' | head -n 1)
timeout "${VMM_NESTED_TIMEOUT:-540}" qemu-system-x86_64 -accel tcg,thread=multi -cpu max -smp "${VMM_NESTED_CPUS:-2}" -m "${VMM_NESTED_MEMORY:-3072}" -display none -monitor none -no-reboot \
    -serial file:"$work/console" -kernel "$kernel" -initrd "$work/image.gz" -append "console=ttyS0 quiet panic=-1 mitigations=off rdinit=/init" >&2 || true
tr -d '\r' < "$work/console" | sed -e 's/\x1b\[[0-9;?]*[a-zA-Z]//g'
number() { tr -d '\r' < "$work/console" | sed -e 's/\x1b\[[0-9;?]*[a-zA-Z]//g' | grep -E "^ *$1: [0-9]+" | tail -n 1 | grep -oE '[0-9]+' | head -n 1 || true; }
passed=$(number succeeded) failed=$(number failed) skipped=$(number skipped)
grep -q 'nested exit 0' "$work/console" && code=0 || code=1
[ "$code" -eq 0 ] || [ "${failed:-0}" -ne 0 ] || failed=1
echo "${passed:-0} passed, ${failed:-0} failed, ${skipped:-0} skipped"
exit "$code"
