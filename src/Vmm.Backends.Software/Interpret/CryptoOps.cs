// Intel SDM vol. 1, 12.13 and 12.14 (AES, PCLMULQDQ), vol. 2 (SHA).
using Iced.Intel;
using Vmm.Backends.Software.Decode;
using static Vmm.Backends.Software.Interpret.CryptoLanes;
using static Vmm.Backends.Software.Interpret.VectorHandlers;

namespace Vmm.Backends.Software.Interpret;

/// <summary>AES, PCLMULQDQ and SHA.</summary>
internal static class CryptoOps
{
    /// <summary>The handler, or 0.</summary>
    public static nint Choose(in Instruction i, ref Op op) => i.Mnemonic switch
    {
        Mnemonic.Aesenc or Mnemonic.Vaesenc => Binary<Encrypt>(i, ref op),
        Mnemonic.Aesenclast or Mnemonic.Vaesenclast => Binary<EncryptLast>(i, ref op),
        Mnemonic.Aesdec or Mnemonic.Vaesdec => Binary<Decrypt>(i, ref op),
        Mnemonic.Aesdeclast or Mnemonic.Vaesdeclast => Binary<DecryptLast>(i, ref op),
        Mnemonic.Aesimc or Mnemonic.Vaesimc => Unary<InverseMix>(i),
        Mnemonic.Aeskeygenassist or Mnemonic.Vaeskeygenassist => Unary<KeyAssist>(i),
        Mnemonic.Pclmulqdq or Mnemonic.Vpclmulqdq => Binary<MultiplyCarryLess>(i, ref op),
        Mnemonic.Sha1rnds4 => Binary<Sha1Rounds4>(i, ref op),
        Mnemonic.Sha1nexte => Binary<Sha1NextE>(i, ref op),
        Mnemonic.Sha1msg1 => Binary<Sha1Message1>(i, ref op),
        Mnemonic.Sha1msg2 => Binary<Sha1Message2>(i, ref op),
        Mnemonic.Sha256rnds2 => Ternary<Sha256Rounds2>(i, ref op),
        Mnemonic.Sha256msg1 => Binary<Sha256Message1>(i, ref op),
        Mnemonic.Sha256msg2 => Binary<Sha256Message2>(i, ref op),
        _ => 0,
    };
}
