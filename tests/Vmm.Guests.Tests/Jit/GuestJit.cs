namespace Vmm.Guests.Tests.Jit;

/// <summary>A small JIT compiler as a program for guests, made by the host's C compiler.</summary>
public static class GuestJit
{
    /// <summary>Where it is in the guest.</summary>
    public const string Path = "/bin/jit";

    /// <summary>Adds it to an initramfs.</summary>
    public static Initramfs AddJit(this Initramfs initramfs)
    {
        using var source = typeof(GuestJit).Assembly.GetManifestResourceStream("GuestJit.c")!;
        using var text = new MemoryStream();
        source.CopyTo(text);
        var directory = Directory.CreateTempSubdirectory("vmm-jit-");
        try
        {
            var program = System.IO.Path.Combine(directory.FullName, "jit");
            HostTool.Run("gcc", ["-x", "c", "-", "-O2", "-static", "-nostdlib", "-ffreestanding", "-fno-stack-protector", "-fno-pie", "-no-pie", "-fcf-protection=none", "-o", program], text.ToArray());
            return initramfs.AddFile(Path[1..], File.ReadAllBytes(program), UnixFileMode.UserRead | UnixFileMode.UserExecute);
        }
        finally
        {
            directory.Delete(recursive: true);
        }
    }
}
