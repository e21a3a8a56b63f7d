namespace Vmm.Cli.Terminal;

/// <summary>What a user asks by the keys after Ctrl-A.</summary>
internal enum EscapeRequest
{
    None,
    Help,
    Leave,
}
