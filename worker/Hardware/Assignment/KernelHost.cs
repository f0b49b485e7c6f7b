using System.ComponentModel;
using System.Diagnostics;
using Worker.Hardware.Pci;

namespace Worker.Hardware.Assignment;

// The running kernel. Guarantees: a write to sysfs that blocks for good (an unbinding while something still uses the device) blocks a small
// process and never the worker, which could otherwise not even be killed. On a crash of the worker such a process goes on by itself.
public sealed class KernelHost(HostTree tree, TimeProvider time) : IHostControl
{
    // $0: the file; $1: the text.
    private const string Writer = """printf '%s\n' "$1" >"$0" """;
    private const int MaxSaid = 300;
    private static readonly TimeSpan SettleLimit = TimeSpan.FromSeconds(5), SettlePeriod = TimeSpan.FromMilliseconds(100);

    public async Task<HostAnswer> WriteAsync(string path, string text, TimeSpan limit, CancellationToken ct)
    {
        var start = new ProcessStartInfo("/bin/sh") { RedirectStandardError = true, RedirectStandardInput = true, WorkingDirectory = "/" };
        start.Environment.Clear();
        foreach (var argument in (string[])["-c", Writer, Path.Combine(tree.Root, path), text])
            start.ArgumentList.Add(argument);
        using var end = CancellationTokenSource.CreateLinkedTokenSource(ct);
        end.CancelAfter(limit);
        try
        {
            using var process = Process.Start(start) ?? throw new IOException("the shell could not be started");
            process.StandardInput.Close();
            try
            {
                var said = await process.StandardError.ReadToEndAsync(end.Token);
                await process.WaitForExitAsync(end.Token);
                return process.ExitCode == 0 ? HostAnswer.Done : new HostAnswer(HostOutcome.Refused, OneLine(said));
            }
            catch (OperationCanceledException) when (!ct.IsCancellationRequested)
            {
                return new HostAnswer(HostOutcome.TimedOut, $"no answer within {limit.TotalSeconds:0} s");
            }
        }
        catch (Exception problem) when (problem is Win32Exception or IOException)
        {
            return new HostAnswer(HostOutcome.Refused, problem.Message);
        }
    }

    public SmmuHardware? AskSmmu(PciAddress address) => SmmuQuery.Ask(tree, address);

    public async Task<HostAnswer> TryDisksAsync(PciAddress address, TimeSpan limit, CancellationToken ct)
    {
        var began = time.GetTimestamp();
        while (true)
        {
            // Opening may block as well, where a controller does not answer.
            var tried = Task.Factory.StartNew(() => new NvmeErasure(tree, time).TryDisks(address), ct, TaskCreationOptions.LongRunning, TaskScheduler.Default);
            try
            {
                // A disk that comes up has no node yet, and who only looks at it (a scan for partitions or file systems) lets it go again.
                if (await tried.WaitAsync(limit - time.GetElapsedTime(began), time, ct) is { IsDone: true } || time.GetElapsedTime(began) > SettleLimit)
                    return await tried;
            }
            catch (TimeoutException)
            {
                return new HostAnswer(HostOutcome.TimedOut, $"its disks could not be opened within {limit.TotalSeconds:0} s");
            }
            await Task.Delay(SettlePeriod, time, ct);
        }
    }

    public Task<HostAnswer> EraseNamespacesAsync(PciAddress address, CancellationToken ct) => new NvmeErasure(tree, time).EraseAsync(address, ct);

    public HostAnswer Own(string deviceNode, uint? user)
    {
        try
        {
            LibC.Own(deviceNode, user ?? LibC.EffectiveUser());
            File.SetUnixFileMode(deviceNode, UnixFileMode.UserRead | UnixFileMode.UserWrite);
            return HostAnswer.Done;
        }
        catch (Exception problem) when (problem is IOException or UnauthorizedAccessException)
        {
            return new HostAnswer(HostOutcome.Refused, problem.Message);
        }
    }

    private static string OneLine(string said)
    {
        var line = string.Concat(said.Trim().Select(c => char.IsControl(c) ? ' ' : c));
        return line.Length <= MaxSaid ? line : line[..MaxSaid];
    }
}
