namespace Vmm.Backends.Software;

/// <summary>How the software CPU runs instructions. State and behaviour are the same; a snapshot of one engine loads into the other.</summary>
public enum CpuEngine
{
    /// <summary>The translator where the host can, else the interpreter; or the one that the environment variable VMM_CPU_ENGINE names (interpret or translate).</summary>
    Auto = 0,

    /// <summary>The portable interpreter.</summary>
    Interpret = 1,

    /// <summary>
    /// Translation into machine code, with the interpreter for cold code and for modes other than 64-bit. On a host that cannot (another
    /// architecture, no BMI2 and AVX2, or no executable memory) everything is interpreted.
    /// </summary>
    Translate = 2,
}
