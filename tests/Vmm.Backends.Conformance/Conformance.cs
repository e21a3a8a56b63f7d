using Iced.Intel;
using Vmm.Backends.Conformance.Guests;
using Vmm.Core.Backends;

namespace Vmm.Backends.Conformance;

/// <summary>
/// What all topics share. A topic is an abstract class with its tests; a backend runs it by deriving a class without a body. Every test runs
/// on every backend or is skipped with the reason.
/// </summary>
/// <typeparam name="TBackend">The backend.</typeparam>
public abstract class Conformance<TBackend> : IDisposable where TBackend : BackendUnderTest, new()
{
    private readonly List<IDisposable> _made = [];

    /// <summary>Skips what the backend cannot do here.</summary>
    protected Conformance()
    {
        Backend.RequireUsable();
        var topic = GetType().BaseType!.Name.Split('`')[0];
        var test = TestContext.Current.TestMethod?.MethodName;
        if (Backend.Unsupported.TryGetValue($"{topic}.{test}", out var reason)) Assert.Skip($"unsupported: {reason}");
    }

    /// <summary>The backend.</summary>
    protected TBackend Backend { get; } = new();

    /// <summary>Skips the test unless the backend has all of these.</summary>
    /// <param name="capabilities">What the test is about, or needs.</param>
    protected void Need(HypervisorCapabilities capabilities)
    {
        foreach (var capability in Enum.GetValues<HypervisorCapabilities>())
        {
            if (capability != 0 && capabilities.HasFlag(capability) && Backend.Lacks(capability) is { } reason) Assert.Skip(reason);
        }
    }

    /// <summary>A guest with a program; disposed after the test.</summary>
    /// <param name="bitness">16 for real mode, 32 for protected mode without paging, 64 for long mode.</param>
    /// <param name="body">The program. It ends by the suite's exit port, which is put behind it.</param>
    /// <param name="user">Starts in ring 3.</param>
    /// <param name="vcpus">Processors; only the first one has a program.</param>
    protected TestGuest Guest(int bitness, Action<Assembler> body, bool user = false, int vcpus = 1) => Guest(bitness, (a, _) => body(a), user, vcpus);

    /// <summary>As above; the second argument of the program gives the next instruction a name.</summary>
    protected TestGuest Guest(int bitness, Action<Assembler, Action<string>> body, bool user = false, int vcpus = 1) =>
        Dispose(new TestGuest(Backend, bitness, body, user, vcpus));

    /// <summary>Disposes something after the test, the last made first.</summary>
    protected T Dispose<T>(T made) where T : IDisposable
    {
        _made.Add(made);
        return made;
    }

    public void Dispose()
    {
        for (var i = _made.Count - 1; i >= 0; i--) _made[i].Dispose();
        GC.SuppressFinalize(this);
    }
}
