namespace Vmm.Benchmarks;

/// <summary>The C program of benchmarks/kvm and the guest that it runs.</summary>
internal sealed class KvmReference : IDisposable
{
    private readonly string _image = Path.GetTempFileName();
    private readonly CProgram _program;

    public KvmReference()
    {
        var sources = SourceTree.Folder("kvm");
        CProgram.Compile("-nostdlib", "-static", "-Wl,-Ttext=0x10000,--oformat=binary,--build-id=none,-e,_start", "-o", _image, Path.Combine(sources, "guest.S"));
        Image = File.ReadAllBytes(_image);
        _program = new CProgram(Path.Combine(sources, "kvm.c"), _image);
    }

    /// <summary>The guest, for address 0x10000.</summary>
    public byte[] Image { get; }

    /// <summary>One command, and the numbers that it answers.</summary>
    public double[] Ask(string command, int mode, int count) => _program.Ask($"{command} {mode} {count}");

    public void Dispose()
    {
        _program.Dispose();
        File.Delete(_image);
    }
}
