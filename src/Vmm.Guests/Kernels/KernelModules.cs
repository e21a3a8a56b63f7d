// Linux Documentation/kbuild/modules.rst; include/linux/module.h MODULE_INFO (section .modinfo); modules.builtin of Documentation/kbuild/kbuild.rst.
using System.Collections.Immutable;
using System.IO.Compression;
using System.Text;
using Vmm.Guests.Compression;
using Vmm.Guests.Elf;

namespace Vmm.Guests.Kernels;

/// <summary>
/// The loadable modules that belong to a kernel, in the order in which they can be loaded. Dependencies are read from the modules
/// themselves, so a package that was only unpacked, and has no modules.dep yet, will do. Thread-safe.
/// </summary>
/// <remarks>
/// In Debian 12's cloud kernel (6.1) ext4, jbd2, crc32c (in software), pciehp and acpiphp are <b>built in</b>; naming one of them is
/// allowed and loads nothing. <b>Modules</b> are virtio, virtio_ring, virtio_mmio, virtio_pci, virtio_blk, virtio_console, virtio_rng
/// (its file is virtio-rng.ko), virtio_net, virtio_balloon, virtio_mem, virtio_pmem with nd_pmem, virtio_scsi, virtiofs and fuse, vsock, crc32c_intel,
/// loop, overlay, squashfs, xfs and btrfs. There is no 9p, and virtio_mmio takes no devices from the kernel's command line
/// (CONFIG_VIRTIO_MMIO_CMDLINE_DEVICES is off): they have to be described by ACPI (LNRO0005).
/// </remarks>
public sealed class KernelModules
{
    private const int MaximumModuleBytes = 256 << 20;
    private static readonly ImmutableArray<string> Suffixes = [".ko", ".ko.xz", ".ko.gz"];

    private readonly string _directory;
    private readonly Dictionary<string, string> _files = new(StringComparer.Ordinal);
    private readonly HashSet<string> _builtIn = new(StringComparer.Ordinal);

    private KernelModules(string directory)
    {
        _directory = Path.GetFullPath(directory);
        Release = Path.GetFileName(_directory.TrimEnd(Path.DirectorySeparatorChar));
        foreach (string file in Directory.EnumerateFiles(_directory, "*.ko*", SearchOption.AllDirectories))
        {
            string name = Path.GetFileName(file);
            if (Suffixes.FirstOrDefault(s => name.EndsWith(s, StringComparison.Ordinal)) is { } suffix)
                _files.TryAdd(Normalise(name[..^suffix.Length]), file);
        }
        string builtIn = Path.Combine(_directory, "modules.builtin");
        if (File.Exists(builtIn))
            _builtIn.UnionWith(File.ReadLines(builtIn).Select(line => Normalise(Path.GetFileNameWithoutExtension(line.Trim()))));
    }

    /// <summary>The kernel's release, such as "6.1.0-9-cloud-amd64": what <c>uname -r</c> says.</summary>
    public string Release { get; }

    /// <summary>Number of loadable modules.</summary>
    public int Count => _files.Count;

    /// <summary>Opens the modules of a kernel.</summary>
    /// <param name="kernel">A kernel from <see cref="GuestImages.FindKernelAsync"/>.</param>
    /// <returns>Its modules.</returns>
    /// <exception cref="GuestImageException">No directory of modules is known for it, or it cannot be read.</exception>
    public static KernelModules Open(GuestKernel kernel)
    {
        ArgumentNullException.ThrowIfNull(kernel);
        return kernel.ModulesDirectory is { } directory
            ? Open(directory)
            : throw Failure($"directory of modules for {kernel.Path}", kernel.Path, "it did not come with one", "use a kernel from a package, or open a directory lib/modules/RELEASE by its name.");
    }

    /// <summary>Opens a directory of modules.</summary>
    /// <param name="directory">…/lib/modules/RELEASE on the host.</param>
    /// <returns>Its modules.</returns>
    /// <exception cref="GuestImageException">It cannot be read.</exception>
    public static KernelModules Open(string directory)
    {
        try
        {
            return new KernelModules(directory);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw Failure("directory of kernel modules", directory, e.Message, "name a directory lib/modules/RELEASE that can be read.", e);
        }
    }

    /// <summary>Whether the kernel has it without loading anything.</summary>
    /// <param name="name">With dashes or underscores.</param>
    public bool IsBuiltIn(string name) => _builtIn.Contains(Normalise(name));

    /// <summary>Whether there is a loadable module of that name.</summary>
    /// <param name="name">With dashes or underscores.</param>
    public bool Contains(string name) => _files.ContainsKey(Normalise(name));

    /// <summary>The modules to load, each once and after those it depends on. What is built in is left out.</summary>
    /// <param name="names">With dashes or underscores, without ".ko".</param>
    /// <returns>In the order of loading.</returns>
    /// <exception cref="GuestImageException">A module does not exist, cannot be read, or is damaged.</exception>
    public ImmutableArray<KernelModule> Resolve(params IEnumerable<string> names)
    {
        ArgumentNullException.ThrowIfNull(names);
        var order = ImmutableArray.CreateBuilder<KernelModule>();
        var seen = new HashSet<string>(StringComparer.Ordinal);
        foreach (string name in names)
            Visit(Normalise(name), name, order, seen);
        return order.ToImmutable();
    }

    /// <summary>A module's own bytes, unpacked: what <c>insmod</c> wants.</summary>
    /// <param name="module">From <see cref="Resolve"/>.</param>
    /// <returns>An ELF object.</returns>
    /// <exception cref="GuestImageException">The file cannot be read or is damaged.</exception>
    public static byte[] Read(KernelModule module)
    {
        ArgumentNullException.ThrowIfNull(module);
        return Read(module.Name, module.Path);
    }

    private static byte[] Read(string name, string path)
    {
        try
        {
            byte[] bytes = File.ReadAllBytes(path);
            if (path.EndsWith(".xz", StringComparison.Ordinal))
            {
                var output = new BoundedOutput(bytes.Length * 4L, MaximumModuleBytes);
                XzDecoder.Decode(bytes, output);
                bytes = output.ToArray();
            }
            else if (path.EndsWith(".gz", StringComparison.Ordinal))
            {
                bytes = Gunzip(bytes);
            }
            return ElfReader.IsElf(bytes) ? bytes : throw new InvalidDataException("it is not an x86-64 ELF object");
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or InvalidDataException or DecompressionException)
        {
            throw Failure($"sound kernel module \"{name}\"", path, e.Message, "fetch or install the kernel's package again.", e);
        }
    }

    private static byte[] Gunzip(byte[] packed)
    {
        using var gzip = new GZipStream(new MemoryStream(packed), CompressionMode.Decompress);
        using var output = new MemoryStream();
        byte[] buffer = new byte[1 << 16];
        for (int got; (got = gzip.Read(buffer)) > 0;)
        {
            if (output.Length + got > MaximumModuleBytes)
                throw new InvalidDataException($"it unpacks to more than {MaximumModuleBytes} bytes");
            output.Write(buffer, 0, got);
        }
        return output.ToArray();
    }

    private void Visit(string name, string asked, ImmutableArray<KernelModule>.Builder order, HashSet<string> seen)
    {
        if (_builtIn.Contains(name) || !seen.Add(name))
            return;
        if (!_files.TryGetValue(name, out string? path))
            throw Failure($"kernel module \"{asked}\"", _directory, "it has no such module, and none of that name is built in", "name a module of this kernel, or use another kernel.");
        (List<string> hard, List<string> soft) = Depends(Read(name, path));
        foreach (string dependency in hard)
            Visit(dependency, $"{dependency}\" (needed by \"{name}", order, seen);
        // A soft dependency is often an alias, which the kernel itself finds built in or does without.
        string[] present = [.. soft.Where(_files.ContainsKey)];
        foreach (string dependency in present)
            Visit(dependency, dependency, order, seen);
        string relative = Path.GetRelativePath(_directory, path).Replace('\\', '/');
        string guest = $"lib/modules/{Release}/{relative[..(relative.LastIndexOf(".ko", StringComparison.Ordinal) + 3)]}";
        order.Add(new KernelModule(name, path, guest, [.. hard, .. present]));
    }

    private static (List<string> Hard, List<string> Soft) Depends(byte[] module)
    {
        var (hard, soft) = (new List<string>(), new List<string>());
        string info = Encoding.UTF8.GetString(ElfReader.Section(module, ".modinfo"u8));
        foreach (string field in info.Split('\0'))
        {
            if (field.StartsWith("depends=", StringComparison.Ordinal))
                hard.AddRange(field["depends=".Length..].Split(',', StringSplitOptions.RemoveEmptyEntries).Select(Normalise));
            if (field.StartsWith("softdep=pre:", StringComparison.Ordinal))
                soft.AddRange(field["softdep=pre:".Length..].Split("post:")[0].Split(' ', StringSplitOptions.RemoveEmptyEntries).Select(Normalise));
        }
        return (hard, soft);
    }

    // The kernel takes dashes and underscores in module names as the same.
    private static string Normalise(string name) => name.Replace('-', '_');

    private static GuestImageException Failure(string what, string place, string reason, string remedy, Exception? inner = null) =>
        new(what, [new GuestImageProbe(place, reason)], remedy, inner);
}
