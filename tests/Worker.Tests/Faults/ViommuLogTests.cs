using System.Text;
using CsCheck;
using Worker.Faults;
using Xunit;

namespace Worker.Tests.Faults;

public sealed class ViommuLogTests : IDisposable
{
    private const string Fault = "smmuv3_record_event SMMU_EVT_F_TRANSLATION sid=0x100\n";
    private readonly TemporaryDirectory _directory = new();

    private string Log => _directory.Of("trace.log");
    private string State => _directory.Of("trace.state");

    public void Dispose() => _directory.Dispose();

    private static void Append(string path, ReadOnlySpan<byte> bytes)
    {
        using var file = File.OpenHandle(path, FileMode.OpenOrCreate, FileAccess.Write, FileShare.ReadWrite);
        RandomAccess.Write(file, bytes, RandomAccess.GetLength(file));
    }

    private ViommuLog Open() => new(Log, State);

    [Fact]
    public void Read_WhereverItIsInterrupted_CountsTheSame()
    {
        var run = 0;
        Gen.Select(ViommuCountsTests.AnyLine.Array[0, 40], Gen.Select(Gen.Int[0, 4000], Gen.Bool, Gen.Bool).Array[1, 25]).Sample((lines, steps) =>
        {
            var (log, state) = (_directory.Of($"log{Interlocked.Increment(ref run)}"), _directory.Of($"state{run}-{Guid.NewGuid():N}"));
            var all = Encoding.UTF8.GetBytes(string.Join('\n', lines) + "\n");
            var written = 0;
            var reader = new ViommuLog(log, state);
            var last = reader.Counts;
            foreach (var (bytes, read, restart) in steps.Append((all.Length, true, true)).Append((0, true, false)))
            {
                var now = Math.Min(bytes, all.Length - written);
                Append(log, all.AsSpan(written, now));
                written += now;
                if (read)
                    reader.Read();
                if (restart)
                    reader = new ViommuLog(log, state);
                Assert.True(reader.Counts.Total >= last.Total && reader.Counts.TlbHits >= last.TlbHits && reader.Counts.TlbMisses >= last.TlbMisses);
                last = reader.Counts;
            }
            ViommuCountsTests.AssertSame(ViommuCounts.Zero.Add(all), reader.Counts);
            File.Delete(log);
            File.Delete(state);
        }, iter: 60);
    }

    [Fact]
    public void Read_OfALargeLog_GivesTheReadPartBackAndCountsEveryLine()
    {
        const int lines = 100_000;
        Append(Log, Encoding.ASCII.GetBytes(string.Concat(Enumerable.Repeat(Fault, lines))));
        var before = BlocksKib(Log);
        var reader = Open();
        Assert.False(reader.Read()!.Refused);
        Assert.Equal(lines, reader.Counts.Total);
        Assert.Equal(lines * (long)Fault.Length, new FileInfo(Log).Length);
        Assert.True(before > 4000 && BlocksKib(Log) < 200, $"{before} KiB became {BlocksKib(Log)} KiB");
        Append(Log, Encoding.ASCII.GetBytes(Fault));
        reader.Read();
        Assert.Equal(lines + 1, reader.Counts.Total);
    }

    /// <summary>What the file takes on the disk, from du: .NET does not tell.</summary>
    private static long BlocksKib(string path)
    {
        var start = new System.Diagnostics.ProcessStartInfo("du") { RedirectStandardOutput = true };
        start.ArgumentList.Add("-k");
        start.ArgumentList.Add(path);
        using var du = System.Diagnostics.Process.Start(start)!;
        var text = du.StandardOutput.ReadToEnd();
        du.WaitForExit();
        return long.Parse(text.Split('\t')[0], System.Globalization.CultureInfo.InvariantCulture);
    }

    [Fact]
    public void Read_WhenMoreIsThereThanAtATime_CatchesUpWithoutLoss()
    {
        var lines = 2 * ViommuLog.MaxBytesPerRead / Fault.Length + 10;
        Append(Log, Encoding.ASCII.GetBytes(string.Concat(Enumerable.Repeat(Fault, lines))));
        var reader = Open();
        Assert.True(reader.Read()!.UnreadBytes > 0);
        while (reader.Read()!.UnreadBytes > 0)
        {
        }
        Assert.Equal((lines, false), (reader.Counts.Total, reader.Counts.EventsLowerBound));
    }

    [Fact]
    public void Read_WhenTheLogWasCut_NeitherGoesBackNorCountsTwice()
    {
        Append(Log, Encoding.ASCII.GetBytes(Fault + Fault + Fault));
        var reader = Open();
        reader.Read();
        using (var file = File.OpenHandle(Log, FileMode.Open, FileAccess.Write))
            RandomAccess.SetLength(file, Fault.Length);
        reader.Read();
        Assert.Equal((3L, true), (reader.Counts.Total, reader.Counts.EventsLowerBound));
        Append(Log, Encoding.ASCII.GetBytes(Fault));
        reader.Read();
        Assert.Equal(4, reader.Counts.Total);
    }

    [Theory]
    [InlineData("")]
    [InlineData("{}")]
    [InlineData("null")]
    [InlineData("garbage")]
    [InlineData("""{"offset":-1,"events":{},"tlbHits":0,"tlbMisses":0}""")]
    [InlineData("""{"offset":0,"events":{"A":-1},"tlbHits":0,"tlbMisses":0}""")]
    public void Open_WhenTheStateIsNotReadable_CountsFromTheLogAsALowerBound(string state)
    {
        File.WriteAllText(State, state);
        Append(Log, Encoding.ASCII.GetBytes(Fault));
        var reader = Open();
        reader.Read();
        Assert.Equal((1L, true, true), (reader.Counts.Total, reader.Counts.EventsLowerBound, reader.Counts.TlbLowerBound));
    }

    [Fact]
    public void Read_WhenTheLogIsALink_IsNotFollowed()
    {
        File.WriteAllText(_directory.Of("secret"), Fault);
        File.CreateSymbolicLink(Log, _directory.Of("secret"));
        var reader = Open();
        Assert.Null(reader.Read());
        Assert.Equal(0, reader.Counts.Total);
    }

    [Fact]
    public void Read_WhenThereIsNoLog_IsNull() => Assert.Null(Open().Read());
}
