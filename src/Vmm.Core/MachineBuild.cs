using Vmm.Core.Errors;

namespace Vmm.Core;

/// <summary>Collects what is wrong with a machine while it is built, so that all of it can be told at once.</summary>
/// <param name="problems">What was found so far; more is added.</param>
internal sealed class MachineBuild(List<string> problems)
{
    /// <summary>One sentence a problem.</summary>
    public List<string> Problems => problems;

    /// <summary>Does a step. What it says of its arguments (a place that is taken, a name used twice) becomes a problem; anything else passes.</summary>
    public void Try(Action step)
    {
        try
        {
            step();
        }
        catch (VmmConfigurationException e)
        {
            problems.AddRange(e.Problems);
        }
        catch (ArgumentException e)
        {
            // The message without .NET's "(Parameter 'x')", which means nothing to who reads a list of problems.
            var end = e.ParamName is null ? -1 : e.Message.IndexOf(" (Parameter '", StringComparison.Ordinal);
            problems.Add(end < 0 ? e.Message : e.Message[..end]);
        }
        catch (InvalidOperationException e) when (e is not ObjectDisposedException)
        {
            problems.Add(e.Message);
        }
    }
}
