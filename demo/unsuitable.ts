/** Why the demo cannot run here; its message is one line for the user. */
export class Unsuitable extends Error {}
