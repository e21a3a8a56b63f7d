#!/usr/bin/env bash
# Runs a test project on a real /dev/kvm where the host has none: in a Debian guest on QEMU's TCG, which emulates AMD's SVM with
# nested paging, so that the guest's kvm-amd works as on hardware (only slowly: some 130 us an exit).
#   tests/nested-kvm/run.sh tests/Vmm.Backends.Kvm.Tests [arguments of the test runner...]
# Everything is fetched from Debian once, into $VMM_CACHE/nested-kvm (default ~/.cache/vmm/nested-kvm); nothing is installed.
# NESTED_MEMORY (MiB, default 3072), NESTED_CPUS (1), NESTED_TIMEOUT (seconds, 1500). Exits as the test runner did.
set -euo pipefail

[ $# -ge 1 ] || { sed -n '2,6s/^# \{0,1\}//p' "$0"; exit 64; }
for tool in qemu-system-x86_64 cpio apt-get dpkg-deb dotnet; do
    command -v "$tool" >/dev/null || { echo "error: $tool is missing; try: apt-get install qemu-system-x86 cpio" >&2; exit 69; }
done
project=$(realpath "$1"); shift
name=$(basename "$project")
cache=${VMM_CACHE:-$HOME/.cache/vmm}/nested-kvm
mkdir -p "$cache"

fetch() { # PACKAGE: unpacks it to $cache/PACKAGE
    [ ! -e "$cache/$1/.complete" ] || return 0
    rm -rf "${cache:?}/$1"; mkdir -p "$cache/$1"
    (cd "$cache/$1" && apt-get -qq download "$1" 2>/dev/null && dpkg-deb -x ./*.deb . && rm -f ./*.deb && touch .complete)
}

kernel=$(apt-cache depends linux-image-cloud-amd64 | sed -n 's/ *Depends: \(linux-image-[0-9].*\)/\1/p' | head -n 1)
[ -n "$kernel" ] || { echo "error: no package linux-image-cloud-amd64; try: apt-get update" >&2; exit 69; }
libraries=(libc6 libstdc++6 libgcc-s1 zlib1g libssl3)
for package in "$kernel" busybox-static "${libraries[@]}"; do fetch "$package"; done

dotnet build "$project" -c Release -v quiet >&2
dotnet=$(dirname "$(readlink -f "$(command -v dotnet)")")
version=$(dotnet --list-runtimes | sed -n 's/^Microsoft.NETCore.App \(10\.[0-9.]*\) .*/\1/p' | tail -n 1)

root=$(mktemp -d); trap 'rm -rf "$root"' EXIT
mkdir -p "$root"/{bin,dev,etc,proc,sys,tmp,modules,test,dotnet/host/fxr,dotnet/shared/Microsoft.NETCore.App,lib64}
for package in "${libraries[@]}"; do cp -a "$cache/$package"/{lib,lib64,usr} "$root/" 2>/dev/null || true; done
rm -rf "$root"/usr/share "$root"/usr/lib/*/{gconv,audit}
cp "$cache/busybox-static/bin/busybox" "$root/bin/"
for module in virt/lib/irqbypass arch/x86/kvm/kvm arch/x86/kvm/kvm-amd; do cp "$cache/$kernel"/lib/modules/*/kernel/$module.ko "$root/modules/"; done
cp "$dotnet/dotnet" "$root/dotnet/"
echo "root:x:0:0:root:/tmp:/bin/sh" > "$root/etc/passwd"
cp -r "$dotnet/host/fxr/$version" "$root/dotnet/host/fxr/"
cp -r "$dotnet/shared/Microsoft.NETCore.App/$version" "$root/dotnet/shared/Microsoft.NETCore.App/"
cp -r "$project"/bin/Release/net*/. "$root/test/"
for file in ${NESTED_FILES:-}; do cp --parents "$file" "$root/"; done
arguments=$(printf ' %q' "$@")
cat > "$root/init" <<INIT
#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev; mount -t tmpfs tmp /tmp
ip link set lo up
insmod /modules/irqbypass.ko; insmod /modules/kvm.ko; insmod /modules/kvm-amd.ko
export PATH=/bin:/dotnet HOME=/tmp DOTNET_ROOT=/dotnet VMM_REQUIRE=kvm NO_COLOR=1 DOTNET_CLI_TELEMETRY_OPTOUT=1 TESTINGPLATFORM_TELEMETRY_OPTOUT=1 DOTNET_TieredPGO=0 DOTNET_TC_BackgroundWorkerTimeoutMs=0 ${NESTED_ENV:-}
cd /tmp
dotnet /test/$name.dll$arguments
echo "nested-kvm exit code \$?"
poweroff -f
INIT
chmod +x "$root/init"
initrd=$(mktemp); trap 'rm -rf "$root" "$initrd"' EXIT
(cd "$root" && find . | cpio -o -H newc --quiet) > "$initrd"

timeout --foreground "${NESTED_TIMEOUT:-1500}" qemu-system-x86_64 -accel tcg -cpu max,+svm,+npt,-la57 -smp "${NESTED_CPUS:-1}" -m "${NESTED_MEMORY:-3072}" \
    -nographic -nodefaults -serial stdio -no-reboot -kernel "$cache/$kernel"/boot/vmlinuz-* -initrd "$initrd" \
    -append "console=ttyS0 panic=-1 quiet tsc=reliable" </dev/null | tr -d '\r' | tee "$initrd.log"
code=$(sed -n 's/^nested-kvm exit code //p' "$initrd.log" | tail -n 1); rm -f "$initrd.log"
exit "${code:-70}"
