using Vmm.Backends.Software.Translate;

namespace Vmm.Backends.Software.Tests.SystemBehaviour;

/// <summary>How the guests of a class of tests are run.</summary>
public interface IEngine
{
    static abstract CpuEngine Engine { get; }

    /// <summary>Runs of a block in the interpreter before the translator does it.</summary>
    static virtual int TranslateAfter => 0;

    /// <summary>Bytes of either part of a region of translated code.</summary>
    static virtual int CodePart => CodeMemory.DefaultPart;
}

/// <summary>By the interpreter.</summary>
public sealed class Interpreted : IEngine
{
    public static CpuEngine Engine => CpuEngine.Interpret;
}

/// <summary>By the translator, before any code is run for the first time.</summary>
public sealed class Translated : IEngine
{
    public static CpuEngine Engine => CpuEngine.Translate;
}

/// <summary>By the translator, which does a block when it has run a few times, and with it those that follow.</summary>
public sealed class Warmed : IEngine
{
    public static CpuEngine Engine => CpuEngine.Translate;

    public static int TranslateAfter => 8;
}

/// <summary>By the translator, which does a block when it has run a few times, and does those again, with what follows, that run often.</summary>
public sealed class Heated : IEngine
{
    public static CpuEngine Engine => CpuEngine.Translate;

    public static int TranslateAfter => 5;
}

/// <summary>By the translator, whose memory for code is so small that regions are dropped all the time.</summary>
public sealed class Cramped : IEngine
{
    public static CpuEngine Engine => CpuEngine.Translate;

    public static int CodePart => BlockTranslator.LargestBlock + (20 << 10);
}

/// <summary>The same, and blocks have to run a few times before.</summary>
public sealed class CrampedWarmed : IEngine
{
    public static CpuEngine Engine => CpuEngine.Translate;

    public static int TranslateAfter => 4;

    public static int CodePart => Cramped.CodePart;
}
