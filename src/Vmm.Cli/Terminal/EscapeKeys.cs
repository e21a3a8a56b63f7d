using System.Buffers;

namespace Vmm.Cli.Terminal;

/// <summary>Finds the keys that are meant for vmm in what is typed: those after Ctrl-A. A sequence may come in pieces.</summary>
internal sealed class EscapeKeys
{
    private const byte CtrlA = 0x01, CtrlX = 0x18;

    private bool _armed;

    /// <summary>Takes what was typed.</summary>
    /// <param name="typed">The bytes.</param>
    /// <param name="guest">Receives those that are the guest's.</param>
    /// <returns>What the user asked of vmm; the rest of the bytes after a request to leave is dropped.</returns>
    public EscapeRequest Filter(ReadOnlySpan<byte> typed, IBufferWriter<byte> guest)
    {
        var request = EscapeRequest.None;
        foreach (var key in typed)
        {
            if (!_armed)
            {
                if (key == CtrlA) _armed = true;
                else guest.Write([key]);
                continue;
            }

            _armed = false;
            switch (key)
            {
                case CtrlA: guest.Write([CtrlA]); break;
                case (byte)'x' or (byte)'X' or CtrlX: return EscapeRequest.Leave;
                case (byte)'h' or (byte)'?': request = EscapeRequest.Help; break;
            }
        }

        return request;
    }
}
