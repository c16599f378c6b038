"""The variants that an artifact may have."""

from pyfunc.spec import Variant

OPENVINO_F32, OPENVINO_BF16, OPENVINO_INT8 = (
    Variant("openvino", "f32"),
    Variant("openvino", "bf16"),
    Variant("openvino", "int8"),
)
TORCH_F32, TORCH_BF16 = Variant("torch", "f32"), Variant("torch", "bf16")
