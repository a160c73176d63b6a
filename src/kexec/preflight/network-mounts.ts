import { deviceOf, stackOf } from "../../host/block-devices.ts";
import type { Mount } from "../../host/mounts.ts";
import { type Check, type Finding, type Machine, rootMount } from "./finding.ts";

const networkTypes = new Set(
  "nfs nfs4 cifs smb3 smbfs ceph 9p afs coda lustre orangefs beegfs glusterfs ocfs2 gfs2".split(" "),
);
const networkFuse = /^fuse\.(sshfs|glusterfs|ceph|ceph-fuse|s3fs|rclone|davfs|mfs|juicefs)/;

/** Whether a file system is reached over the network. */
export const isRemote = ({ type, options }: Mount) =>
  networkFuse.test(type) || (networkTypes.has(type) && !options.includes("trans=virtio"));

const name = ({ mountPoint, source, type }: Mount) => `${mountPoint} (${type} from ${source})`;

/** File systems that need the network while it goes down. */
export const networkMounts: Check = {
  name: "network-mounts",
  looksAt: "the mounts",
  async find({ mounts, init, blockDevices }) {
    const all = await mounts;
    const root = rootMount(all);
    const remote = all.filter(isRemote);
    const others = remote.filter((mount) => mount.mountPoint !== "/");
    const carriers = root === undefined ? [] : await networkBelow(root, blockDevices);
    const findings: Omit<Finding, "check">[] = [];
    if (root !== undefined && (remote.includes(root) || carriers.length > 0))
      findings.push({
        severity: "warns",
        subject: "The root file system comes over the network",
        items: carriers.length > 0 ? carriers : [name(root)],
        why: "The next kernel has no root, and the machine stays away, unless its network card works again after the jump.",
        advice:
          "Give the next kernel the same command line (--reuse-cmdline) and an initrd with the card's driver; have another way to reset the machine.",
      });
    if (others.length > 0)
      findings.push({
        severity: init.kind === "systemd" ? "notes" : "warns",
        subject: "File systems on the network are mounted",
        items: others.map(name),
        why: "What was not written to them is lost, and unmounting hangs where a server does not answer; with locks the server waits for this machine.",
        advice:
          init.kind === "systemd"
            ? "systemd unmounts them while the network is still there; --now does not."
            : "Unmount them before: umount -a -t nfs,nfs4,cifs,ceph,9p",
        // What was mounted later may stand on what was mounted before.
        remedies: others
          .map(({ mountPoint }) => ({ action: "unmount" as const, target: mountPoint }))
          .reverse(),
      });
    return findings;
  },
};

/** Devices below a file system that are reached over the network. */
async function networkBelow(root: Mount, blockDevices: Machine["blockDevices"]): Promise<string[]> {
  const all = await blockDevices;
  const device = deviceOf(root, all);
  if (device === undefined) return [];
  return stackOf(device, all)
    .filter(({ network }) => network !== undefined)
    .map(({ name, network }) => `/ (on ${name}, ${network})`);
}
