/** Where a Unix socket can be. */

/** `sockaddr_un.sun_path` takes 108 bytes with its closing NUL. */
export const socketPathBytesMax = 107;
