/** A guest with a small Debian under systemd, set up so that what a kexec does there leaves witnesses on its disk. */
import { expect } from "vitest";
import type { Vm } from "../../src/lab/vm.ts";

/**
 * Puts two kernels into GRUB's menu, of which it would start `next`, and makes a service and hooks that write into
 * /var/witness.
 */
export async function furnishGuest(vm: Vm, next: string, old: string): Promise<void> {
  const script = `set -e
for release in ${next} ${old}; do
  cp /lab/kernels/$release/vmlinuz /boot/vmlinuz-$release
  cp /lab/kernels/$release/initrd /boot/initrd.img-$release
done
mkdir -p /boot/grub
{ echo '# GRUB Environment Block'; head -c 999 /dev/zero | tr '\\0' '#'; } >/boot/grub/grubenv
read -r line </proc/cmdline
cat >/boot/grub/grub.cfg <<end
load_env
if [ "\\\${next_entry}" ]; then set default="\\\${next_entry}"; set next_entry=; save_env next_entry; fi
menuentry "Next" --id next { linux /boot/vmlinuz-${next} $line
initrd /boot/initrd.img-${next} }
menuentry "Old" --id old { linux /boot/vmlinuz-${old} $line
initrd /boot/initrd.img-${old} }
end
for stage in pre-load pre-exec; do
  mkdir -p /etc/rekernel/kexec.d/$stage
  cat >/etc/rekernel/kexec.d/$stage/10-witness <<'end'
#!/bin/sh
echo "$REKERNEL_KEXEC_STAGE $REKERNEL_KEXEC_RELEASE" >>/var/witness
end
  chmod +x /etc/rekernel/kexec.d/$stage/10-witness
done
cat >/etc/systemd/system/witness.service <<'end'
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh -c 'echo start $(uname -r) >>/var/witness'
ExecStop=/bin/sh -c 'echo stop $(uname -r) >>/var/witness'
[Install]
WantedBy=multi-user.target
end
systemctl enable --now witness`;
  const { exitCode, stderr } = await vm.run(script);
  expect(exitCode, stderr).toBe(0);
}

/** What service and hooks have written, line by line. */
export async function witness(vm: Vm): Promise<string[]> {
  return (await vm.run("cat /var/witness")).stdout.trim().split("\n");
}
