using System.Buffers.Binary;
using Vmm.Backends.Software.Translate;

namespace Vmm.Backends.Software.Cpu;

/// <summary>The x87 registers between the state, which the interpreter uses, and the image from which translated code loads the host's unit.</summary>
internal sealed partial class Vcpu
{
    /// <summary>Translated code is about to use the x87 unit.</summary>
    public ExitKind ServeX87() => TryExportX87() ? 0 : ExitKind.Interpret;

    // False where an exception is unmasked or pending: it must not meet the host.
    private bool TryExportX87()
    {
        ref var x = ref S.X87;
        if ((x.Control & 0x3F) != 0x3F || (x.Status & 0x80) != 0) return false;
        var image = _memory.X87Image;
        XsaveImage.StoreX87(this, image, wide: true);
        BinaryPrimitives.WriteUInt64LittleEndian(image[512..], 1);
        S.Translator.X87Saved = 1;
        return true;
    }

    // The image's pointers are of host code; the guest's are in the state already.
    private void AbsorbX87()
    {
        ref var x = ref S.X87;
        var (opcode, cs, ds, ip, dp) = (x.LastOpcode, x.LastCs, x.LastDs, x.LastIp, x.LastDp);
        XsaveImage.LoadX87(this, _memory.X87Image, wide: true);
        (x.LastOpcode, x.LastCs, x.LastDs, x.LastIp, x.LastDp) = (opcode, cs, ds, ip, dp);
        S.Translator.X87Saved = 0;
    }
}
