/**
 * Linux error numbers as the calls of this folder return them.
 * node:util knows only those of libuv, which has no ENOKEY, EKEYREJECTED or ELIBBAD.
 *
 * Source: include/uapi/asm-generic/errno-base.h, errno.h.
 */
const names: Readonly<Record<number, readonly [name: string, text: string]>> = {
  1: ["EPERM", "operation not permitted"],
  2: ["ENOENT", "no such file or directory"],
  3: ["ESRCH", "no such process"],
  4: ["EINTR", "interrupted system call"],
  5: ["EIO", "input/output error"],
  6: ["ENXIO", "no such device or address"],
  7: ["E2BIG", "argument list too long"],
  8: ["ENOEXEC", "exec format error"],
  9: ["EBADF", "bad file descriptor"],
  11: ["EAGAIN", "resource temporarily unavailable"],
  12: ["ENOMEM", "cannot allocate memory"],
  13: ["EACCES", "permission denied"],
  14: ["EFAULT", "bad address"],
  16: ["EBUSY", "device or resource busy"],
  17: ["EEXIST", "file exists"],
  19: ["ENODEV", "no such device"],
  20: ["ENOTDIR", "not a directory"],
  21: ["EISDIR", "is a directory"],
  22: ["EINVAL", "invalid argument"],
  23: ["ENFILE", "too many open files in system"],
  24: ["EMFILE", "too many open files"],
  26: ["ETXTBSY", "text file busy"],
  27: ["EFBIG", "file too large"],
  28: ["ENOSPC", "no space left on device"],
  34: ["ERANGE", "numerical result out of range"],
  36: ["ENAMETOOLONG", "file name too long"],
  38: ["ENOSYS", "function not implemented"],
  61: ["ENODATA", "no data available"],
  65: ["ENOPKG", "package not installed"],
  71: ["EPROTO", "protocol error"],
  74: ["EBADMSG", "bad message"],
  75: ["EOVERFLOW", "value too large for defined data type"],
  80: ["ELIBBAD", "accessing a corrupted shared library"],
  90: ["EMSGSIZE", "message too long"],
  95: ["EOPNOTSUPP", "operation not supported"],
  99: ["EADDRNOTAVAIL", "cannot assign requested address"],
  110: ["ETIMEDOUT", "connection timed out"],
  126: ["ENOKEY", "required key not available"],
  127: ["EKEYEXPIRED", "key has expired"],
  128: ["EKEYREVOKED", "key has been revoked"],
  129: ["EKEYREJECTED", "key was rejected by service"],
};

/** `ENOKEY` for 126; a number without a name here gives `errno 4095`. */
export function errnoName(errno: number): string {
  return names[errno]?.[0] ?? `errno ${errno}`;
}

/** The C library's short text for an error number, in lower case. */
export function errnoText(errno: number): string {
  return names[errno]?.[1] ?? "unknown error";
}
