using System.Collections.Concurrent;
using System.Diagnostics;
using System.Runtime.InteropServices;

namespace Testing;

/// <summary>A program of ours as a process of its own, so that it can be killed like one. Its output is captured, the last lines of it;
/// disposing ends it: TERM first, KILL after five seconds. If the test run itself is killed, the script ends what is left.</summary>
public sealed partial class ProcessUnderTest : IAsyncDisposable
{
    private const int MaxLines = 4000;
    private const int Terminate = 15, Continue = 18, Stop = 19;
    private static readonly TimeSpan _patience = TimeSpan.FromSeconds(5);
    private readonly Process _process;
    private readonly ConcurrentQueue<string> _lines = new();

    private ProcessUnderTest(Process process) => _process = process;

    public int Id => _process.Id;

    public bool HasExited => _process.HasExited;

    public int ExitCode => _process.ExitCode;

    public IReadOnlyList<string> Lines => [.. _lines];

    public string Output => string.Join('\n', _lines);

    /// <summary>Starts a published program: <c>Sandbox.Api</c> of the folder <c>api</c> and so on.</summary>
    public static ProcessUnderTest StartBuilt(
        string folder, string assembly, IEnumerable<string> arguments, IReadOnlyDictionary<string, string?>? environment = null)
    {
        var directory = Path.Combine(Surroundings.Build, folder);
        return Start("dotnet", [Path.Combine(directory, assembly + ".dll"), .. arguments], environment, directory);
    }

    /// <summary>Starts a program with the test's environment and these changes to it (null removes a variable).</summary>
    public static ProcessUnderTest Start(
        string program, IEnumerable<string> arguments, IReadOnlyDictionary<string, string?>? environment = null, string? workingDirectory = null)
    {
        var start = new ProcessStartInfo(program)
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            WorkingDirectory = workingDirectory ?? "",
        };
        foreach (var argument in arguments)
            start.ArgumentList.Add(argument);
        foreach (var (name, value) in environment ?? new Dictionary<string, string?>())
            start.Environment[name] = value;
        var result = new ProcessUnderTest(new Process { StartInfo = start });
        result._process.OutputDataReceived += (_, line) => result.Keep(line.Data);
        result._process.ErrorDataReceived += (_, line) => result.Keep(line.Data);
        result._process.Start();
        result._process.StandardInput.Close();
        result._process.BeginOutputReadLine();
        result._process.BeginErrorReadLine();
        return result;
    }

    /// <summary>The first line that holds this text, past or future.</summary>
    public async Task<string> WaitForLineAsync(string text, TimeSpan? deadline = null)
    {
        try
        {
            return await Eventually.GetAsync(
                () => Task.FromResult(LineWith(text) ?? (HasExited && LineWith(text) is null ? throw Ended(text) : null)),
                $"process {Id} prints '{text}'", deadline);
        }
        catch (TimeoutException error)
        {
            throw new TimeoutException($"{error.Message}; it printed:\n{Output}", error);
        }
    }

    /// <summary>Waits until it has ended and all of its output is read.</summary>
    public async Task<int> WaitForExitAsync(TimeSpan? deadline = null)
    {
        await Eventually.Async(() => _process.HasExited, $"process {Id} ends", deadline);
        // Whatever inherited its output may go on: its exit alone counts then.
        using var rest = new CancellationTokenSource(TimeSpan.FromSeconds(2));
        try
        {
            await _process.WaitForExitAsync(rest.Token);
        }
        catch (OperationCanceledException) when (rest.IsCancellationRequested)
        {
            Keep("(its output is held open by another process)");
        }
        return _process.ExitCode;
    }

    /// <summary>SIGKILL to this process alone, and waits until it is gone.</summary>
    public async Task KillAsync()
    {
        _process.Kill();
        await WaitForExitAsync();
    }

    /// <summary>SIGTERM; the exit code once it has ended.</summary>
    public async Task<int> TerminateAsync(TimeSpan? deadline = null)
    {
        if (!HasExited)
            Signal(Terminate);
        return await WaitForExitAsync(deadline);
    }

    /// <summary>SIGSTOP: it does nothing from now on, and its sockets take connections still.</summary>
    public void Freeze() => Signal(Stop);

    public void Thaw() => Signal(Continue);

    public async ValueTask DisposeAsync()
    {
        try
        {
            if (!HasExited)
                await TerminateAsync(_patience);
        }
        catch (TimeoutException)
        {
            await KillAsync();
        }
        finally
        {
            _process.Dispose();
        }
    }

    private void Signal(int signal)
    {
        if (SendSignal(Id, signal) != 0)
            throw new InvalidOperationException($"process {Id} cannot be signalled: error {Marshal.GetLastPInvokeError()}");
    }

    private string? LineWith(string text) => _lines.FirstOrDefault(line => line.Contains(text, StringComparison.Ordinal));

    private InvalidOperationException Ended(string text) =>
        new($"process {Id} ended with {ExitCode} before it printed '{text}':\n{Output}");

    private void Keep(string? line)
    {
        if (line is null)
            return;
        _lines.Enqueue(line);
        while (_lines.Count > MaxLines)
            _lines.TryDequeue(out _);
    }

    [LibraryImport("libc", EntryPoint = "kill", SetLastError = true)]
    private static partial int SendSignal(int process, int signal);
}
