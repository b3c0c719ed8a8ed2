"""Builds the kernel libraries during ``pip install``; setup.cfg names the two commands below.

The libraries are plain C and know neither Python nor torch: a build needs a compiler and nothing else, takes seconds,
and one wheel serves every Python and every torch.

==================== ======== ========================================================================================
environment variable value
==================== ======== ========================================================================================
SAM2_BUILD_KERNELS   auto     the CPU library where a C++17 compiler is; left out with a warning where not (default)
                     1        a library that cannot be built fails the installation
                     0        nothing is built; the plain twins in sam2_engine/ops.py give the same results
SAM2_BUILD_CUDA      auto     the CUDA library where nvcc and an NVIDIA driver are both on this machine (default)
                     1        wherever nvcc is, also without a GPU (to build for another machine); no nvcc is an error
                     0        never
==================== ======== ========================================================================================
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from setuptools import Distribution, Extension
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext
from setuptools.errors import OptionError

SUFFIX = {"win32": ".dll", "darwin": ".dylib"}.get(sys.platform, ".so")  # as in sam2_engine/ops.py
HEADERS = [str(path) for pattern in ("include/*.h", "cpu/*.hpp", "cuda/*.cuh") for path in Path("csrc").glob(pattern)]


class KernelWheel(bdist_wheel):
    """Declares the libraries (setup.cfg has no key for extensions); the wheel is for any Python of this platform."""

    def finalize_options(self) -> None:
        declare_kernels(self.distribution)
        super().finalize_options()

    def get_tag(self) -> tuple[str, str, str]:
        python, abi, platform = super().get_tag()
        return (python, abi, platform) if self.root_is_pure else ("py3", "none", platform)


class BuildKernels(build_ext):
    """Builds plain shared libraries where setuptools would build Python modules."""

    def finalize_options(self) -> None:
        declare_kernels(self.distribution)
        super().finalize_options()

    def get_ext_filename(self, fullname: str) -> str:
        return os.path.join(*fullname.split(".")) + SUFFIX

    def get_export_symbols(self, ext: Extension) -> list[str]:
        return []  # the sources mark what they export; there is no PyInit function

    def build_extensions(self) -> None:
        super().build_extensions()
        for ext in self.extensions:
            if not os.path.exists(self.get_ext_fullpath(ext.name)):
                self.warn(
                    f"{ext.name} was left out: it could not be built, the reason stands above. Everything works "
                    "without it, some steps slower; to have it, install a C++17 compiler and then this package again"
                )

    def build_extension(self, ext: Extension) -> None:
        if ext.name.endswith("_cuda"):
            self._build_cuda(ext)
            return
        is_msvc = self.compiler.compiler_type == "msvc"
        ext.extra_compile_args = (
            ["/O2", "/std:c++17", "/EHsc"] if is_msvc else ["-O3", "-g0", "-std=c++17", "-fvisibility=hidden"]
        )
        super().build_extension(ext)

    def _build_cuda(self, ext: Extension) -> None:
        library = Path(self.get_ext_fullpath(ext.name))
        library.parent.mkdir(parents=True, exist_ok=True)
        host_flags = [] if sys.platform == "win32" else ["-Xcompiler", "-fPIC,-fvisibility=hidden"]
        # With the runtime linked in and code for every generation that nvcc knows, only the driver is needed later.
        flags = ["-O3", "-std=c++17", "-arch=all-major", "-cudart", "static", "--shared", *host_flags]
        self.spawn([find_nvcc() or "nvcc", *flags, "-o", str(library), *ext.sources])


def declare_kernels(distribution: Distribution) -> None:
    """Gives the distribution the libraries to build, once."""
    mode = build_mode("SAM2_BUILD_KERNELS")
    if distribution.ext_modules or mode == "0":
        return
    devices = ["cpu", "cuda"] if wants_cuda() else ["cpu"]
    distribution.ext_modules = [
        Extension(
            f"sam2_engine._kernels_{device}",
            sources=sorted(str(path) for path in Path("csrc", device).glob("*.cpp" if device == "cpu" else "*.cu")),
            depends=HEADERS,
            language="c++",
            optional=mode == "auto" and not (device == "cuda" and build_mode("SAM2_BUILD_CUDA") == "1"),
        )
        for device in devices
    ]


def wants_cuda() -> bool:
    """Whether to build the CUDA library, see the table above."""
    mode = build_mode("SAM2_BUILD_CUDA")
    if mode == "1" and find_nvcc() is None:
        raise OptionError(
            "SAM2_BUILD_CUDA=1, but there is no nvcc: put it on PATH or set CUDA_HOME, or set SAM2_BUILD_CUDA=0"
        )
    return mode == "1" or (mode == "auto" and find_nvcc() is not None and has_nvidia_driver())


def find_nvcc() -> str | None:
    """The CUDA compiler: of CUDA_HOME, else on PATH, else where its installers put it."""
    home = os.environ.get("CUDA_HOME") or os.environ.get("CUDA_PATH")
    in_home = shutil.which("nvcc", path=os.path.join(home, "bin")) if home else None
    return in_home or shutil.which("nvcc") or shutil.which("nvcc", path="/usr/local/cuda/bin")


def has_nvidia_driver() -> bool:
    """Whether this machine could run what nvcc makes."""
    return os.path.exists("/proc/driver/nvidia/version") or shutil.which("nvidia-smi") is not None


def build_mode(variable: str) -> str:
    """The value of one of the two environment variables."""
    mode = os.environ.get(variable, "auto").strip().lower() or "auto"
    if mode not in ("auto", "1", "0"):
        raise OptionError(f"{variable} must be auto, 1 or 0, got {mode!r}")
    return mode
