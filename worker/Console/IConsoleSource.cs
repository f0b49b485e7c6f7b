namespace Worker.Console;

/// <summary>Where a guest's serial console comes from, and where its keys go.</summary>
internal interface IConsoleSource
{
    /// <summary>For the log.</summary>
    string Name { get; }

    /// <summary>Serves one VMM's console to its end; returns at once while there is none.</summary>
    Task ServeAsync(SerialConsole console, CancellationToken ct);
}
