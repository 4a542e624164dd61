package main

import (
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// dieWithParent asks the kernel to end this process when the one that started it dies, SIGKILL included, so that a test
// run that is killed leaves nothing behind. DEEPTRAIN_PARENT names that process: it may have died before the request was
// made, and then nobody would ever tell.
func dieWithParent() {
	parent, err := strconv.Atoi(os.Getenv("DEEPTRAIN_PARENT"))
	if err != nil || parent <= 0 {
		return
	}
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); err != nil {
		return
	}
	if os.Getppid() != parent {
		os.Exit(1)
	}
}
