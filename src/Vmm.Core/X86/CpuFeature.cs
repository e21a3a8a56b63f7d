namespace Vmm.Core.X86;

/// <summary>
/// CPUID feature bits (Intel SDM vol. 2A, CPUID). The value is 32 times the register group plus the bit; groups are, in
/// order: 1.ECX, 1.EDX, 7.0.EBX, 7.0.ECX, 7.0.EDX, 80000001.ECX, 80000001.EDX, D.1.EAX, 80000007.EDX, 80000008.EBX, 6.EAX.
/// </summary>
public enum CpuFeature
{
#pragma warning disable CS1591 // each is the SDM's own name of the bit
    Sse3 = 0, Pclmulqdq = 1, Monitor = 3, Ssse3 = 9, Fma = 12, Cx16 = 13, Pcid = 17, Sse41 = 19, Sse42 = 20, X2Apic = 21, Movbe = 22,
    Popcnt = 23, TscDeadline = 24, Aes = 25, Xsave = 26, OsXsave = 27, Avx = 28, F16c = 29, Rdrand = 30, Hypervisor = 31,
    Fpu = 32, Vme = 33, De = 34, Pse = 35, Tsc = 36, Msr = 37, Pae = 38, Mce = 39, Cx8 = 40, Apic = 41, Sep = 43, Mtrr = 44, Pge = 45,
    Mca = 46, Cmov = 47, Pat = 48, Pse36 = 49, Clflush = 51, Mmx = 55, Fxsr = 56, Sse = 57, Sse2 = 58, SelfSnoop = 59, Htt = 60,
    Fsgsbase = 64, TscAdjust = 65, Bmi1 = 67, Avx2 = 69, Smep = 71, Bmi2 = 72, Erms = 73, Invpcid = 74, Rdseed = 82, Adx = 83,
    Smap = 84, ClflushOpt = 87, Clwb = 88, Sha = 93,
    Umip = 98, Pku = 99, OsPke = 100, La57 = 112, Rdpid = 118,
    Fsrm = 132, MdClear = 138, SpecCtrl = 154, Stibp = 155, ArchCapabilities = 157, Ssbd = 159,
    LahfSahf = 160, Lzcnt = 165, Prefetchw = 168,
    Syscall = 203, Nx = 212, Pdpe1Gb = 218, Rdtscp = 219, Lm = 221,
    XsaveOpt = 224, XsaveC = 225, Xgetbv1 = 226, Xsaves = 227,
    InvariantTsc = 264,
    Arat = 322,
#pragma warning restore CS1591
}
