// The environment of the programs that the cluster runs.

// A shell that is not root's often lacks the folders in which the node's programs lie.
const systemFolders = [
  "/usr/local/sbin",
  "/usr/local/bin",
  "/usr/sbin",
  "/usr/bin",
  "/sbin",
  "/bin",
];

/** PATH with the folders of system programs added. */
export function programPath(): string {
  const given = (process.env.PATH ?? "").split(":").filter(Boolean);
  return [...given, ...systemFolders.filter((folder) => !given.includes(folder))].join(":");
}

/** What a long-running program gets: nothing of the caller's secrets, and no proxy between the parts of a cluster. */
export function programEnvironment(): Record<string, string> {
  return { PATH: programPath(), HOME: process.env.HOME ?? "/", LANG: "C.UTF-8" };
}
