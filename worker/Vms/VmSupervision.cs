using Microsoft.Extensions.Logging;

namespace Worker.Vms;

// What supervises one running VMM beside its runner. Guarantees: a part that ends with what nobody expected is told in the log, for nobody awaits it before the end;
// after the end none runs. The VMM itself goes on.
internal sealed class VmSupervision(Guid sandbox, ILogger log) : IAsyncDisposable
{
    private readonly CancellationTokenSource _end = new();
    private readonly List<Task> _parts = [];

    /// <summary>For the VM's constructor.</summary>
    public void Begin(Func<CancellationToken, Task> part) => _parts.Add(Task.Run(() => GuardAsync(part)));

    public async ValueTask DisposeAsync()
    {
        await _end.CancelAsync();
        await Task.WhenAll(_parts);
        _end.Dispose();
    }

    private async Task GuardAsync(Func<CancellationToken, Task> part)
    {
        try
        {
            await part(_end.Token);
        }
        catch (OperationCanceledException) when (_end.IsCancellationRequested)
        {
        }
        catch (Exception problem)
        {
            log.LogCritical(problem, "Sandbox {Sandbox}: its VMM is no longer supervised", sandbox);
        }
    }
}
