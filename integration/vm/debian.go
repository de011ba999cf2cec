package vm

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// kernel is one of Debian's kernels, unpacked below the cache and not installed.
type kernel struct {
	dir     string // with lib/modules/RELEASE
	image   string
	release string
}

// sources are where the kernels come from: by Options.Kernel the suite and the
// pattern of the package's name, of which the newest is taken.
var sources = map[string]struct{ suite, pattern string }{
	Qemu61: {"bookworm", `^linux-image-6\.1\.0-[0-9]+-amd64$`},
	Qemu:   {"bookworm-backports", `^linux-image-6\.12\.[0-9.]+\+deb12[0-9.]*-amd64$`},
}

// debianKernel gives the kernel that the options name, fetched and unpacked at the
// first use. The package lists and their source are the cache's own: the host's
// apt configuration stays as it is.
func debianKernel(ctx context.Context, o Options) (kernel, error) {
	cache, err := cacheDir(o)
	if err != nil {
		return kernel{}, err
	}
	dir := filepath.Join(cache, "linux-"+o.Kernel)
	if k, ok := unpacked(dir); ok {
		return k, nil
	}
	for _, tool := range []string{"apt-get", "apt-cache", "dpkg-deb", "depmod"} {
		if _, err := exec.LookPath(tool); err != nil {
			return kernel{}, fmt.Errorf("%w: %s, to fetch Debian's kernel %s", ErrNotInstalled, tool, o.Kernel)
		}
	}
	f := fetch{ctx: ctx, log: o, tmp: dir + ".tmp"}
	if err := os.RemoveAll(f.tmp); err != nil {
		return kernel{}, err
	}
	defer os.RemoveAll(f.tmp)
	if err := f.unpack(o.Kernel); err != nil {
		return kernel{}, fmt.Errorf("vm: fetch Debian's kernel %s: %w", o.Kernel, err)
	}
	if err := os.RemoveAll(dir); err != nil {
		return kernel{}, err
	}
	if err := os.Rename(filepath.Join(f.tmp, "root"), dir); err != nil {
		return kernel{}, err
	}
	k, ok := unpacked(dir)
	if !ok {
		return k, fmt.Errorf("vm: the package of Debian's kernel %s has no kernel in it", o.Kernel)
	}
	return k, nil
}

// unpacked finds the kernel in its folder; false if it is not there, whole.
func unpacked(dir string) (kernel, bool) {
	images, _ := filepath.Glob(filepath.Join(dir, "boot", "vmlinuz-*"))
	if len(images) != 1 {
		return kernel{}, false
	}
	k := kernel{dir: dir, image: images[0], release: strings.TrimPrefix(filepath.Base(images[0]), "vmlinuz-")}
	_, err := os.Stat(filepath.Join(dir, "lib", "modules", k.release, "modules.dep"))
	return k, err == nil
}

// fetch is one download.
type fetch struct {
	ctx context.Context
	log Options
	tmp string
}

func (f fetch) unpack(name string) error {
	src := sources[name]
	root, apt := filepath.Join(f.tmp, "root"), filepath.Join(f.tmp, "apt")
	for _, d := range []string{root, filepath.Join(apt, "lists", "partial"), filepath.Join(apt, "cache", "archives", "partial")} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return err
		}
	}
	list := filepath.Join(apt, "sources.list")
	line := "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian " + src.suite + " main\n"
	if err := os.WriteFile(list, []byte(line), 0o644); err != nil {
		return err
	}
	own := []string{
		"-o", "Dir::Etc::sourcelist=" + list, "-o", "Dir::Etc::sourceparts=-", "-o", "Dir::State::lists=" + filepath.Join(apt, "lists"),
		"-o", "Dir::Cache=" + filepath.Join(apt, "cache"), "-o", "APT::Sandbox::User=root", "-qq",
	}
	fmt.Fprintf(f.log.Log, "vm: fetching the package list of %s\n", src.suite)
	if _, err := f.run("", "apt-get", append(own, "update")...); err != nil {
		return err
	}
	names, err := f.run("", "apt-cache", append(own, "pkgnames", "linux-image-6.1")...)
	if err != nil {
		return err
	}
	pkg, err := f.newest(names, src.pattern)
	if err != nil {
		return err
	}
	fmt.Fprintf(f.log.Log, "vm: fetching %s (some 100 MB, once; kept in .cache)\n", pkg)
	if _, err := f.run(apt, "apt-get", append(own, "download", pkg)...); err != nil {
		return err
	}
	debs, _ := filepath.Glob(filepath.Join(apt, "*.deb"))
	if len(debs) != 1 {
		return fmt.Errorf("apt-get download %s left %d packages", pkg, len(debs))
	}
	fmt.Fprintf(f.log.Log, "vm: unpacking %s\n", filepath.Base(debs[0]))
	if _, err := f.run("", "dpkg-deb", "-x", debs[0], root); err != nil {
		return err
	}
	// Packages of a system with merged /usr keep the modules below usr/lib.
	if _, err := os.Stat(filepath.Join(root, "lib")); os.IsNotExist(err) {
		if err := os.Symlink("usr/lib", filepath.Join(root, "lib")); err != nil {
			return err
		}
	}
	release := strings.TrimPrefix(pkg, "linux-image-")
	_, err = f.run("", "depmod", "-b", root, release)
	return err
}

// newest is the highest version among the package names that match the pattern.
func (f fetch) newest(names, pattern string) (string, error) {
	match := regexp.MustCompile(pattern)
	best := ""
	for _, n := range strings.Fields(names) {
		if !match.MatchString(n) {
			continue
		}
		if best != "" {
			if _, err := f.run("", "dpkg", "--compare-versions", n, "gt", best); err != nil {
				continue
			}
		}
		best = n
	}
	if best == "" {
		return "", fmt.Errorf("no package matches %s", pattern)
	}
	return best, nil
}

func (f fetch) run(dir, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(f.ctx, name, args...)
	cmd.Dir = dir
	var errs tail
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s", name, err, strings.TrimSpace(errs.String()))
	}
	return string(out), nil
}
