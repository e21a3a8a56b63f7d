namespace Vmm.Backends.Software.Cpu;

/// <summary>Bits of control registers (Intel SDM vol. 3, 2.5) and EFER.</summary>
internal static class ControlBits
{
    public const ulong Cr0Pe = 1, Cr0Mp = 2, Cr0Em = 4, Cr0Ts = 8, Cr0Et = 16, Cr0Ne = 32, Cr0Wp = 1 << 16, Cr0Am = 1 << 18, Cr0Nw = 1 << 29,
        Cr0Cd = 1 << 30, Cr0Pg = 1UL << 31;

    public const ulong Cr4Vme = 1, Cr4Pvi = 2, Cr4Tsd = 4, Cr4De = 8, Cr4Pse = 16, Cr4Pae = 32, Cr4Mce = 64, Cr4Pge = 128, Cr4Pce = 256,
        Cr4OsFxsr = 512, Cr4OsXmmExcpt = 1024, Cr4Umip = 1 << 11, Cr4La57 = 1 << 12, Cr4FsGsBase = 1 << 16, Cr4Pcide = 1 << 17,
        Cr4OsXsave = 1 << 18, Cr4Smep = 1 << 20, Cr4Smap = 1 << 21, Cr4Pke = 1 << 22;

    public const ulong EferSce = 1, EferLme = 1 << 8, EferLma = 1 << 10, EferNxe = 1 << 11;
}
