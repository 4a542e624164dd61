// Command kubernetes is every program of the one-machine cluster in a single binary: the first argument (or the name it
// is called by) chooses which one runs. One binary builds and links the shared code once instead of eight times.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sort"
)

// programs maps the name of a program to what runs it; each one reads os.Args as if it were a binary of its own.
var programs = map[string]func() int{
	"etcd":                    etcd,
	"kube-apiserver":          apiServer,
	"kube-controller-manager": controllerManager,
	"kube-scheduler":          scheduler,
	"kubelet":                 kubelet,
	"kube-proxy":              kubeProxy,
	"coredns":                 coreDNS,
	"kubectl":                 kubectl,
}

func main() {
	name := filepath.Base(os.Args[0])
	run, known := programs[name]
	if !known && len(os.Args) > 1 {
		name = os.Args[1]
		run, known = programs[name]
		os.Args = slices.Concat([]string{name}, os.Args[2:])
	}
	if !known {
		names := make([]string, 0, len(programs))
		for each := range programs {
			names = append(names, each)
		}
		sort.Strings(names)
		fmt.Fprintf(os.Stderr, "kubernetes: name one of the programs %v first\n", names)
		os.Exit(2)
	}
	os.Exit(run())
}
