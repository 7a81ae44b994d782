"""Debian roots, and commands inside of them: each in namespaces of its own, so that its mounts end with it."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.image.dockerfile import Stage

SUITE, MIRROR = "bookworm", "http://deb.debian.org/debian"
PACKAGES = "python3,python3-venv,ca-certificates"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# how this machine reaches the package index, if not directly
_NETWORK = ("PIP_CERT", "PIP_INDEX_URL", "SSL_CERT_FILE", "http_proxy", "https_proxy", "no_proxy")
_IGNORED = {"LABEL", "USER", "VOLUME", "EXPOSE", "STOPSIGNAL", "HEALTHCHECK", "ENTRYPOINT", "CMD"}


def debootstrap(root: Path) -> None:
    options = ("--variant=minbase", f"--include={PACKAGES}")
    done = subprocess.run(
        ["debootstrap", *options, SUITE, str(root), MIRROR], capture_output=True, text=True, check=False, timeout=900
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr


@dataclass
class Root:
    """A root that the steps of a stage are run in, from a copy of `base`."""

    path: Path
    env: dict[str, str] = field(default_factory=dict)
    directory: str = "/"

    @classmethod
    def build(cls, stage: Stage, base: Path, path: Path, context: Path, others: Mapping[str | None, Root]) -> Root:
        """Run every step. What has no step of its own here (USER, CMD) is for whoever starts something in it."""
        subprocess.run(["cp", "-a", str(base), str(path)], check=True, timeout=300)
        shutil.copy("/etc/resolv.conf", path / "etc/resolv.conf")
        for name in ("PIP_CERT", "SSL_CERT_FILE"):
            if certificates := os.environ.get(name):
                shutil.copy(certificates, path / certificates.lstrip("/"))
        root = cls(path)
        for name, value in stage.env.items():
            root.env[name] = value.replace("$PATH", PATH)
        for instruction, arguments in stage.steps:
            root._step(instruction, arguments, context, others)
        return root

    def _step(self, instruction: str, arguments: str, context: Path, others: Mapping[str | None, Root]) -> None:
        if instruction == "RUN":
            network = {name: os.environ[name] for name in _NETWORK if name in os.environ}
            done = subprocess.run(
                self.command(["/bin/sh", "-c", arguments], more=network),
                capture_output=True,
                text=True,
                check=False,
                timeout=900,
            )
            assert done.returncode == 0, f"RUN {arguments}\n{done.stdout[-3000:]}{done.stderr[-3000:]}"
        elif instruction == "WORKDIR":
            self.directory = arguments
            self._inside(arguments).mkdir(parents=True, exist_ok=True)
        elif instruction == "COPY":
            self._copy(shlex.split(arguments), context, others)
        else:
            assert instruction in _IGNORED, f"no test of the instruction {instruction}"

    def _copy(self, words: list[str], context: Path, others: Mapping[str | None, Root]) -> None:
        if words[0].startswith("--from="):
            context = others[words.pop(0).removeprefix("--from=")].path
        *sources, target = words
        for source in sources:
            found, place = context / source.lstrip("/"), self._inside(target)
            if found.is_dir():
                ignored = shutil.ignore_patterns("__pycache__")
                shutil.copytree(found, place, symlinks=True, dirs_exist_ok=True, ignore=ignored)
            else:
                shutil.copy(found, place)

    def _inside(self, path: str) -> Path:
        return self.path / os.path.join(self.directory, path).lstrip("/")  # noqa: PTH118 - of another root

    def command(
        self,
        words: Sequence[str],
        *,
        user: str = "0:0",
        more: Mapping[str, str] | None = None,
        read_only: Sequence[tuple[Path, str]] | None = None,
    ) -> list[str]:
        """What runs `words` inside. `read_only`: nothing can be written there but /tmp and these (folder, place)."""
        root, script = shlex.quote(str(self.path)), ["set -e"]
        script += [f"mount --bind {root} {root}"]
        for folder, place in read_only or ():
            script += [f"mount --bind {shlex.quote(str(folder))} {root}{place}"]
        if read_only is not None:
            script += [f"mount -o remount,bind,ro {root}", f"mount -t tmpfs -o mode=1777 tmpfs {root}/tmp"]  # noqa: S108
        script += [f"mount -t proc proc {root}/proc", f"mount --rbind /dev {root}/dev"]
        env = {"PATH": PATH, **self.env, **(more or {})}
        pairs = " ".join(shlex.quote(f"{name}={value}") for name, value in env.items())
        inside = shlex.join(["/bin/sh", "-c", f'cd {self.directory} && exec "$@"', "sh", *words])
        script += [f"exec env -i {pairs} chroot --userspec={user} --groups= {root} {inside}"]
        return ["unshare", "--mount", "--pid", "--fork", "--kill-child", "/bin/sh", "-c", "\n".join(script)]
