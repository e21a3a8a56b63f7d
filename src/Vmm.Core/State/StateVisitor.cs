using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Vmm.Core.State;

/// <summary>
/// Walks the fields of a unit of state. Saving, loading, dumping and comparing are subclasses. Tags are small integers,
/// unique within a unit and part of the format: a field that is no longer there leaves a hole, a new one takes a new tag.
/// Values are stored little-endian.
/// </summary>
public abstract class StateVisitor
{
    /// <summary>Whether fields are being overwritten from saved state.</summary>
    public abstract bool IsLoading { get; }

    /// <summary>A field of one number, bool or enum.</summary>
    /// <typeparam name="T">A blittable scalar.</typeparam>
    /// <param name="tag">Its tag.</param>
    /// <param name="value">The field.</param>
    /// <param name="name">Filled in by the compiler: the field's expression, for dumps.</param>
    public void Field<T>(int tag, ref T value, [CallerArgumentExpression(nameof(value))] string name = "") where T : unmanaged =>
        Array(tag, new Span<T>(ref value), name);

    /// <summary>A field of fixed length: an array or buffer that exists already.</summary>
    /// <typeparam name="T">A blittable element type.</typeparam>
    /// <param name="tag">Its tag.</param>
    /// <param name="values">The elements.</param>
    /// <param name="name">Filled in by the compiler.</param>
    public void Array<T>(int tag, Span<T> values, [CallerArgumentExpression(nameof(values))] string name = "") where T : unmanaged
    {
        var bytes = MemoryMarshal.AsBytes(values);
        Visit(tag, name, bytes, Unsafe.SizeOf<T>());

        // A bool that is neither 0 nor 1 is true to some code and false to other; saved state is not to be trusted with that.
        if (typeof(T) == typeof(bool) && IsLoading)
        {
            foreach (ref var value in bytes) value = value == 0 ? (byte)0 : (byte)1;
        }
    }

    /// <summary>A list of numbers whose length varies, bounded.</summary>
    /// <typeparam name="T">A blittable element type.</typeparam>
    /// <param name="tag">Its tag.</param>
    /// <param name="list">The list; replaced when loading.</param>
    /// <param name="maximum">The most elements that may be loaded.</param>
    /// <param name="name">Filled in by the compiler.</param>
    public abstract void List<T>(int tag, ref T[] list, int maximum, [CallerArgumentExpression(nameof(list))] string name = "") where T : unmanaged;

    /// <summary>A part with fields of its own, whose tags are its own. After a load its <see cref="IStateful.OnStateLoaded"/> is called.</summary>
    /// <param name="tag">The part's tag.</param>
    /// <param name="part">The part.</param>
    /// <param name="name">Filled in by the compiler.</param>
    public abstract void Part(int tag, IStateful part, [CallerArgumentExpression(nameof(part))] string name = "");

    /// <summary>One field as bytes; a load writes into them.</summary>
    /// <param name="tag">Its tag.</param>
    /// <param name="name">Its name, for dumps and messages.</param>
    /// <param name="bytes">Its storage.</param>
    /// <param name="elementSize">The size of one element of it, in bytes.</param>
    protected abstract void Visit(int tag, string name, Span<byte> bytes, int elementSize);
}
