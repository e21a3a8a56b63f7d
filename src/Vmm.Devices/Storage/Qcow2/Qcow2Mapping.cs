namespace Vmm.Devices.Storage.Qcow2;

/// <summary>Where a stretch of the disk is.</summary>
/// <param name="Kind">What the tables say of it.</param>
/// <param name="HostOffset">Its first byte's place in the file, for data; where the compressed data begins, for a compressed cluster.</param>
/// <param name="Length">Bytes that are so, one after another.</param>
/// <param name="PackedLength">Bytes of compressed data at most.</param>
/// <param name="IsWritable">Nobody else uses the cluster: data may be written in place.</param>
internal readonly record struct Qcow2Mapping(Qcow2MappingKind Kind, long HostOffset, long Length, int PackedLength = 0, bool IsWritable = false);
