/**
 * The shell scripts that run inside the guest, for busybox sh. They are text here, not files,
 * so that they are part of the bundled executable.
 *
 * The agent speaks lines over the second serial port, which every stock x86 kernel drives without a module:
 *
 *   guest -> host   hello BOOT_ID RELEASE      user space is up; everything below /lab is mounted
 *                   beat                       once a second: the guest is alive
 *                   fail TEXT                  the guest cannot be set up
 *                   pid JOB PID                the job's process, leader of its own session
 *                   done JOB EXIT_CODE
 *   host -> guest   run JOB                    /lab/jobs/JOB/run, with in, out and err beside it
 *                   kill PID                   the whole session of a job
 *
 * All bulk data are files in /lab, a folder of the host shared over 9p.
 */

/** What decides the text of the guest's init script. */
export interface GuestSetup {
  /** Modules in `/rekernel/modules`, in loading order. */
  modules: readonly string[];
  hostRoot: boolean;
  share: boolean;
  network: boolean;
  /** The machine has EFI variables. */
  uefi: boolean;
  /** Absolute host path of lib/modules/RELEASE, to become /lib/modules/RELEASE over the host's root. */
  modulesFolder: string | undefined;
  release: string;
  /** `/rekernel/files.cpio` is to be unpacked over the host's root. */
  files: boolean;
  onBoot: boolean;
  /** The system on /dev/vda takes over; the agent is one of its services. */
  ownSystem: boolean;
}

/** 9p mount options: one round trip carries up to this much. */
const msize = 512 * 1024;

/** Where commands find their root, as the agent sees it. */
export function commandRoot(hostRoot: boolean): string {
  return hostRoot ? "/root" : "/";
}

/** Where the guest's root is while /init runs. */
function rootAtBoot({ hostRoot, ownSystem }: GuestSetup): string {
  return hostRoot || ownSystem ? "/root" : "";
}

/** `/init`: sets the guest up, announces it, then serves commands for ever. */
export function initScript(setup: GuestSetup): string {
  const root = rootAtBoot(setup);
  const lines = [
    "#!/bin/busybox sh",
    path,
    "/bin/busybox mount -t proc proc /proc",
    "mount -t sysfs sysfs /sys",
    "mount -t devtmpfs devtmpfs /dev",
    ...openControl,
    'fail() { echo "fail $*" >&3; while :; do sleep 1000; done; }',
    // As modprobe does: MODULE.PARAMETER=VALUE of the command line.
    `parameters() { for word in $(cat /proc/cmdline); do case $word in "$1".*) echo "\${word#*.}";; esac; done; }`,
    ...setup.modules.map(
      (name) =>
        `insmod /rekernel/modules/${name}.ko $(parameters ${name}) || fail "module ${name} does not load"`,
    ),
    ...(setup.modules.length === 0 ? [] : ["rm -r /rekernel/modules"]),
    ...(setup.ownSystem ? systemDiskLines(setup) : mount9p("lab", "/lab", "cache=none")),
    ...(setup.hostRoot ? hostRootLines(setup) : []),
    ...(setup.share ? mount9p("share", `${root}/share`, "cache=none") : []),
    ...(setup.network ? networkLines(setup.hostRoot || setup.ownSystem) : []),
    ...(setup.ownSystem ? [] : kernelFileSystems(root)),
    ...(setup.uefi && !setup.ownSystem
      ? [`mount -t efivarfs efivarfs ${root}/sys/firmware/efi/efivars`]
      : []),
    ...(setup.files ? ["cd /root && cpio -idmu </rekernel/files.cpio && rm /rekernel/files.cpio; cd /"] : []),
    ...(setup.ownSystem
      ? handOverLines()
      : [
          // What init systems send themselves for `poweroff`, `reboot` and `halt` without -f.
          "trap 'poweroff -f' USR2; trap 'reboot -f' TERM; trap 'halt -f' USR1",
          ...agentLines(setup, "/rekernel"),
        ]),
  ];
  return `${lines.join("\n")}\n`;
}

const path = "export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const openControl = ["exec 3<>/dev/ttyS1", "stty raw -echo <&3"];

/** Announces the boot and serves commands for ever. */
function agentLines(setup: GuestSetup, folder: string): string[] {
  return [
    "(while :; do echo beat; sleep 1; done) >&3 &",
    ...(setup.onBoot ? [`setsid sh ${folder}/job ${onBootJob} &`] : []),
    `read -r boot </proc/sys/kernel/random/boot_id`,
    'echo "hello $boot $(uname -r)" >&3',
    "while :; do",
    "  read -r verb id <&3 || { sleep 1; continue; }",
    "  case $verb in",
    `  run) { setsid sh ${folder}/job "$id"; echo "done $id $?" >&3; } & ;;`,
    "  kill) kill -9 -- -$id ;;",
    "  esac",
    "done",
  ];
}

/** Of a system of its own: in its /run, which its init keeps. */
const agentFolder = "/run/rekernel-lab";

/** The agent as a program of the guest's own system. */
export function agentScript(setup: GuestSetup): string {
  return `${["#!/bin/sh", path, ...openControl, ...agentLines(setup, agentFolder)].join("\n")}\n`;
}

/** The disk's file system with /lab, /run and the agent's unit in it. */
function systemDiskLines({ modulesFolder, release }: GuestSetup): string[] {
  const unit = "/root/run/systemd/system/rekernel-lab.service";
  return [
    "mkdir -p /root",
    'mount -t ext4 /dev/vda /root || fail "the system disk does not mount"',
    "mkdir -p /root/lab /root/lib/modules",
    ...mount9p("lab", "/root/lab", "cache=none"),
    // Of the guest's kernel, whose modules stay on the host.
    ...(modulesFolder === undefined ? [] : [`mkdir -p /root/lib/modules/${release}`]),
    "mount -t tmpfs -o mode=755 tmpfs /root/run",
    `mkdir -p /root${agentFolder} /root/run/systemd/system/multi-user.target.wants`,
    `cp /bin/busybox /rekernel/job /rekernel/agent /root${agentFolder}/`,
    `cat >${unit} <<'end'`,
    "[Unit]",
    "Description=Agent of the lab",
    "[Service]",
    `ExecStart=${agentFolder}/busybox sh ${agentFolder}/agent`,
    // What a command leaves running is its own affair, and ends with the system.
    "KillMode=process",
    "end",
    `ln -s ../rekernel-lab.service /root/run/systemd/system/multi-user.target.wants/`,
  ];
}

function handOverLines(): string[] {
  return [
    "for folder in proc sys dev; do mount -o move /$folder /root/$folder; done",
    "exec switch_root /root /sbin/init 3>&-",
  ];
}

/** Name of the job that runs `onBoot`; the host puts its script below /lab/jobs. */
export const onBootJob = "on-boot";

/** `/rekernel/job ID`: becomes the command of one job, in its root and with its files. */
export function jobScript(hostRoot: boolean): string {
  return `#!/bin/busybox sh
job=/lab/jobs/$1
echo "pid $1 $$" >&3
[ -e $job/in ] || ln -s /dev/null $job/in
export HOME=/root USER=root LOGNAME=root TERM=dumb SHELL=/bin/sh
# Or systemd's reboot and poweroff would take this root for a container's and do nothing.
export SYSTEMD_IGNORE_CHROOT=1
cd /
exec chroot ${commandRoot(hostRoot)} /bin/sh $job/run <$job/in >>$job/out 2>>$job/err 3>&-
`;
}

function mount9p(tag: string, path: string, options: string): string[] {
  return [
    `mkdir -p ${path}`,
    `mount -t 9p -o trans=virtio,version=9p2000.L,msize=${msize},${options} ${tag} ${path} || fail "9p ${tag} does not mount"`,
  ];
}

/** The host's root as lower layer; what commands write goes to memory. */
function hostRootLines(setup: GuestSetup): string[] {
  const { modulesFolder, release } = setup;
  return [
    ...mount9p("root", "/host", "ro,cache=loose"),
    "mkdir -p /layers/upper /layers/work /root",
    'mount -t overlay -o lowerdir=/host,upperdir=/layers/upper,workdir=/layers/work overlay /root || fail "overlay does not mount"',
    "mkdir -p /root/lab /root/proc /root/sys /root/dev /root/run /root/tmp /root/root",
    "mount -o bind /lab /root/lab",
    "mount -t tmpfs -o mode=755 tmpfs /root/run",
    ...(modulesFolder === undefined
      ? []
      : [
          "mkdir -p /root/lib/modules",
          `[ -e /root/lib/modules/${release} ] || ln -s ${quote(modulesFolder)} /root/lib/modules/${release}`,
        ]),
  ];
}

function kernelFileSystems(root: string): string[] {
  return [
    ...(root === ""
      ? ["mkdir -p /tmp /run"]
      : [
          `mount -t proc proc ${root}/proc`,
          `mount -t sysfs sysfs ${root}/sys`,
          `mount -t devtmpfs devtmpfs ${root}/dev`,
        ]),
    `mkdir -p ${root}/dev/pts ${root}/dev/shm`,
    `mount -t devpts devpts ${root}/dev/pts`,
    `mount -t tmpfs -o mode=1777 tmpfs ${root}/dev/shm`,
    // Lockdown and IMA show themselves there.
    `mount -t securityfs securityfs ${root}/sys/kernel/security 2>/dev/null`,
    `mount -t debugfs debugfs ${root}/sys/kernel/debug 2>/dev/null`,
    `for n in 0:stdin 1:stdout 2:stderr; do ln -s /proc/self/fd/\${n%:*} /dev/\${n#*:}; done`,
    "ln -s /proc/self/fd /dev/fd",
  ];
}

function networkLines(hostRoot: boolean): string[] {
  return [
    "ip link set lo up",
    "ip addr add 10.0.2.15/24 dev eth0",
    "ip link set eth0 up",
    "ip route add default via 10.0.2.2",
    ...(hostRoot
      ? ["rm -f /root/etc/resolv.conf", "echo nameserver 10.0.2.3 >/root/etc/resolv.conf"]
      : ["mkdir -p /etc", "echo nameserver 10.0.2.3 >/etc/resolv.conf"]),
  ];
}

/** A word that any POSIX shell reads back as `text`. */
export function quote(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}
