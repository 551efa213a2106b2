/** After all tests: the watchdog sees the end of this process and removes what the server leaves on the disk. */
export default async function globalTeardown() {
  await globalThis.towpathTestServer?.stop();
}
