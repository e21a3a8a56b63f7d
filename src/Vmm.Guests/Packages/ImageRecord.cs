using System.Text.Json.Serialization;

namespace Vmm.Guests.Packages;

/// <summary>What the cache keeps beside an unpacked package, as record.json. Paths are relative to the package's directory.</summary>
/// <param name="Format">1.</param>
/// <param name="Requested">The package asked for, such as a metapackage.</param>
/// <param name="Package">The package unpacked.</param>
/// <param name="Version">Its version.</param>
/// <param name="File">The kernel or program.</param>
/// <param name="Length">Its size in bytes.</param>
/// <param name="Sha256">Its SHA-256, hexadecimal.</param>
/// <param name="Modules">The modules' directory, or null.</param>
internal sealed record ImageRecord(int Format, string Requested, string Package, string Version, string File, long Length, string Sha256, string? Modules);

/// <summary>Source-generated JSON, for trimming and AOT.</summary>
[JsonSourceGenerationOptions(WriteIndented = true)]
[JsonSerializable(typeof(ImageRecord))]
internal sealed partial class ImageRecordJson : JsonSerializerContext;
