"""The Triton kernels compile for a GPU (sm_90), which needs none at hand."""

import os

import pytest

pytest.importorskip("triton")
if os.environ.get("TRITON_INTERPRET") == "1":
    pytest.skip("the interpreter compiles nothing", allow_module_level=True)

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from resnest_search.models import kernels

H100 = GPUTarget("cuda", 90, 32)
MAP, SMALL = "*bf16", "*fp32"
MAPS = ("x", "g", "out")
SMALLS = (
    *("norm", "attention"),
    *("means", "squares", "sums", "normed_sums", "flat", "offset", "slope"),
)
LAYOUTS = {
    "contiguous": {"of_pixel": 1, "BLOCK_S": 2048, "BLOCK_C": 1},
    "channels_last": {"of_channel": 1, "BLOCK_S": 16, "BLOCK_C": 64},
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    ("name", "constants"),
    [
        ("_moments_kernel", {}),
        ("_positive_sums_kernel", {"RADIX": 2, "WEIGHTED": False}),
        ("_positive_sums_kernel", {"RADIX": 4, "WEIGHTED": True}),
        ("_combine_kernel", {"RADIX": 4}),
        ("_input_gradient_kernel", {"RADIX": 1}),
        ("_input_gradient_kernel", {"RADIX": 4}),
    ],
)
def test_compiles_for_an_h100(name, constants, layout, tmp_path, monkeypatch):
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    kernel = getattr(kernels, name)
    values = constants | LAYOUTS[layout]
    types = dict.fromkeys(kernel.arg_names, "i32")
    types |= dict.fromkeys(MAPS, MAP) | dict.fromkeys(SMALLS, SMALL)
    types |= dict.fromkeys(values, "constexpr")
    source = ASTSource(
        fn=kernel,
        signature={argument: types[argument] for argument in kernel.arg_names},
        constexprs={(kernel.arg_names.index(key),): value for key, value in values.items()},
    )
    compiled = triton.compile(source, target=H100)
    assert ".target sm_90" in compiled.asm["ptx"]
    assert len(compiled.asm["cubin"]) > 0
