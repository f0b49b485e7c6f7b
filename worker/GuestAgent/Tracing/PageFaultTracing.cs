using System.Globalization;
using System.Text;
using Contracts;

namespace GuestAgent.Tracing;

// Has the guest's kernel count calls of two functions, by kprobes and hist triggers, and reads its counts.
// Guarantees: what is there already, whole, from an earlier agent of this boot is used on, so counts do not go back; what is there in part is taken down first.
//   Set up or not is decided once: a kernel that cannot is not asked again, and what somebody in the guest takes away later is told as null.
// Assumes: root. tracefs is reached by a mount that is nowhere in the tree, so it makes no difference whether the image mounts it.
// On a crash: the kernel counts on; the next agent uses it. Everything ends with the guest.
internal sealed unsafe class PageFaultTracing
{
    private const int MostText = 1 << 20;
    /// <summary>The long ones are read this seldom.</summary>
    private const int TimingRound = 10;
    private readonly string _root;
    private readonly TracedFunctions _functions;

    private int _rounds;
    private bool _timesWereLost;

    private PageFaultTracing(string root, TracedFunctions functions) => (_root, _functions) = (root, functions);

    /// <summary>Null when this kernel, or this user, cannot.</summary>
    public static PageFaultTracing? Begin(TracedFunctions functions)
    {
        var mount = LibC.MountApart("tracefs");
        return mount < 0 ? null : Begin($"/proc/self/fd/{mount.ToString(CultureInfo.InvariantCulture)}", functions);
    }

    internal static PageFaultTracing? Begin(string root, TracedFunctions functions)
    {
        var tracing = new PageFaultTracing(root, functions);
        if (tracing.IsSetUp())
            return tracing;
        tracing.TakeDown();
        foreach (var step in functions.SetUp)
        {
            if (tracing.Take(step))
                continue;
            tracing.TakeDown();
            return null;
        }
        return tracing.IsSetUp() ? tracing : null;
    }

    public AgentPageFaults Read()
    {
        if (_rounds++ % TimingRound == 0)
            _timesWereLost |= !_functions.TimingHistograms.All(histogram => PageFaultCounts.IsWhole(Read(histogram)));
        var told = PageFaultCounts.Of(Read(_functions.RaisedHistogram), Read(_functions.AnsweredHistogram), Read(_functions.TookHistogram), Read(TracedFunctions.Profile), _functions);
        return told with { LowerBound = told.LowerBound || (_timesWereLost && told.Latency is not null) };
    }

    public void TakeDown()
    {
        foreach (var step in _functions.TakeDown)
        {
            if (step.Text is not null)
                Take(step);
            else
                LibC.RemoveDirectory(Of(step.Path));
        }
    }

    /// <summary>The trigger that is written last shows itself by its first words; the kernel adds defaults to the rest.</summary>
    private bool IsSetUp() => Read(_functions.Last.Path).Split('\n').Any(line => line.StartsWith("hist:keys=dev,grp", StringComparison.Ordinal));

    private bool Take(TraceStep step)
    {
        if (step.Text is null)
            return LibC.MakeDirectory(Of(step.Path), 0x1C0) == 0;
        // Opened otherwise than to append, the lists of probes would be emptied first, the user's too.
        var file = LibC.Open(Of(step.Path), LibC.WriteOnly | LibC.Append | LibC.CloseOnExec);
        if (file < 0)
            return false;
        var text = Encoding.UTF8.GetBytes(step.Text + "\n");
        nint written;
        fixed (byte* start = text)
            written = LibC.Write(file, start, text.Length);
        LibC.Close(file);
        return written == text.Length;
    }

    /// <summary>Empty when it is not there, and when it is longer than it may be: then it is not understood either.</summary>
    private string Read(string path)
    {
        var file = LibC.Open(Of(path), LibC.ReadOnly | LibC.CloseOnExec);
        if (file < 0)
            return "";
        var text = new List<byte>();
        var buffer = stackalloc byte[4096];
        nint read;
        while ((read = LibC.Read(file, buffer, 4096)) > 0 && text.Count + read <= MostText)
            text.AddRange(new ReadOnlySpan<byte>(buffer, (int)read));
        LibC.Close(file);
        return read == 0 ? Encoding.UTF8.GetString([.. text]) : "";
    }

    private string Of(string path) => $"{_root}/{path}";
}
